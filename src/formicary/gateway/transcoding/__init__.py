"""Transcoding in process: HTTP requests become calls of the methods that ``google.api.http`` maps them to, and back.

The order of a request: route (`router`) → headers (`negotiation`, `deadlines`, `conditional`) → body (`inbound`,
`compression`) → message (`json_text`, `decoder`, `query`, `request_message`) → the method's chain → answer
(`encoder`, `streaming`, `conditional`, `compression`). `transcoder` is the ASGI application that ties them together.
"""
