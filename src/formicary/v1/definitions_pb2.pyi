from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterDefinitionRequest(_message.Message):
    __slots__ = ("source", "methods", "path", "filename")
    class MethodsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    source: str
    methods: _containers.ScalarMap[str, str]
    path: str
    filename: str
    def __init__(self, source: _Optional[str] = ..., methods: _Optional[_Mapping[str, str]] = ..., path: _Optional[str] = ..., filename: _Optional[str] = ...) -> None: ...

class RegisterDefinitionResponse(_message.Message):
    __slots__ = ("definition_id", "job_type", "version")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    job_type: str
    version: int
    def __init__(self, definition_id: _Optional[str] = ..., job_type: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class GetDefinitionRequest(_message.Message):
    __slots__ = ("id", "job_type")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_type: str
    def __init__(self, id: _Optional[str] = ..., job_type: _Optional[str] = ...) -> None: ...

class Definition(_message.Message):
    __slots__ = ("id", "job_type", "version", "source")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_type: str
    version: int
    source: str
    def __init__(self, id: _Optional[str] = ..., job_type: _Optional[str] = ..., version: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...
