"""The engine's own mapping: what its chain reads arrives, what it makes itself is not made twice."""

from formicary.headers import Rule, engine_mapping
from formicary.headers.grpc_wire import Responses, on_wire

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_what_the_engine_reads_arrives_under_the_names_it_reads() -> None:
    """Authorization, API key, idempotency key, conditions and trace arrive; cookies and identities do not."""
    sent = [("authorization", "Bearer t"), ("x-api-key", "k"), ("idempotency-key", "i"), ("if-match", "e")]
    strange = [("cookie", "a=b"), ("x-user-id", "root"), ("grpc-metadata-admin", "1")]
    metadata = dict(engine_mapping().request("/v1/jobs", [*sent, ("traceparent", TRACE), *strange]))
    assert metadata.pop("request-id") and metadata.pop("correlation-id")
    assert metadata == {
        "authorization": "Bearer t",
        "api-key": "k",
        "idempotency-key": "i",
        "if-match": "e",
        "traceparent": TRACE,
    }


def test_ids_and_rate_limits_come_back_and_traces_stay_the_chains() -> None:
    """Request and correlation ids are repeated, rate limits pass, nothing about traces is generated."""
    mapping = engine_mapping()
    metadata = mapping.request("/v1/jobs", [("x-request-id", "r-1"), ("x-correlation-id", "c-1")])
    assert metadata == [("request-id", "r-1"), ("correlation-id", "c-1")]
    service = [("ratelimit", '"default";r=7;t=1'), ("ratelimit-policy", '"default";q=9'), ("ratelimit-limit", "9")]
    back = dict(mapping.response("/v1/jobs", service, (), metadata))
    assert back["X-Request-ID"] == "r-1" and back["X-Correlation-ID"] == "c-1"
    assert back["RateLimit"] == '"default";r=7;t=1' and back["RateLimit-Policy"] == '"default";q=9'
    assert back["X-RateLimit-Limit"] == "9" and back["X-Content-Type-Options"] == "nosniff"
    assert "X-Trace-ID" not in back and "Strict-Transport-Security" not in back


def test_rules_peers_and_transport_security_can_be_added() -> None:
    """A rule of one's own replaces the preset's, peers are trusted, and HSTS is sent where it is asked for."""
    mapping = engine_mapping([Rule(header="X-API-Key", metadata="key")], trusted_peers=["10.0.0.0/8"], hsts=True)
    metadata = dict(mapping.request("/", [("x-api-key", "k"), ("x-user-id", "7")], mapping.trusts("10.1.1.1")))
    assert metadata["key"] == "k" and metadata["user-id"] == "7"
    assert "Strict-Transport-Security" in dict(mapping.response("/", []))


def test_an_answer_over_grpc_is_the_response_in_lower_case() -> None:
    """The quick way of initial metadata gives what the slow one gives, and counts the same; odd ids go the slow way."""
    quick, slow = engine_mapping(), engine_mapping()
    ids = [("request-id", "r-1"), ("correlation-id", "c-1")]
    sent = [("ratelimit", '"default";r=7;t=1'), ("unmapped", "x"), ("retry-after", "3")]
    odd = [[*ids[:1], ("correlation-id", "c" * 200)], [("request-id", b"raw"), ids[1]]]
    for request, back in (
        [(ids, sent)] * 5 + [(odd[0], sent)] * 5 + [(odd[1], sent), (ids, [("etag", "a\tb"), *sent])] * 5
    ):
        answer = Responses(quick, "/a.B/C", request).initial(back)
        expected = on_wire(slow.response("/a.B/C", back, (), request, note=lambda *_: None))
        if request is odd[1]:  # an id that is no text is made anew
            answer, expected = ([pair for pair in found if pair[0] != "x-request-id"] for found in (answer, expected))
        assert tuple(answer) == tuple(expected)
    assert quick.answer("/a.B/C", sent, ids) is not None
    slow.response("/a.B/C", sent, (), ids)
    assert quick.statistics.read() == slow.statistics.read()
