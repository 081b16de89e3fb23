"""The options of protovalidate for google.protobuf, which its wheel has for protobuf-py alone.

Importing this module makes ``buf/validate/validate.proto`` known to the default pool, from protovalidate's own
descriptor, so it is always the version that protovalidate checks by. The generated code imports it.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2, timestamp_pb2
from protovalidate._gen.buf.validate import validate_pb

SERIALIZED: bytes = validate_pb.desc().proto.to_binary()
"""The FileDescriptorProto of buf/validate/validate.proto."""

NEEDS = (descriptor_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR, field_mask_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR)
"""The files that it imports, known before it."""

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(SERIALIZED)
