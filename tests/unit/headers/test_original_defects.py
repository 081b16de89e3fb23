"""The twenty defects of the mapper that this one follows: each is shown to be absent."""

import logging
import threading
from pathlib import Path

import pytest

from formicary.headers import (
    Direction,
    Generated,
    HeaderMapping,
    MappingBuilder,
    MappingConfig,
    PathPattern,
    Rule,
    compile_mapping,
    load,
    loads,
    transform,
)
from formicary.problems import Problem


def refused(text: str) -> list[tuple[str, str]]:
    """What is wrong with a mapping file."""
    with pytest.raises(Problem) as caught:
        loads(text)
    return [(error.field, error.code) for error in caught.value.errors]


def article() -> HeaderMapping:
    """The mapping of the article."""
    return (
        MappingBuilder()
        .incoming("Authorization", "authorization")
        .with_required()
        .incoming("Authorization", "auth-token")
        .with_transform(transform("remove_prefix", "Bearer "))
        .outgoing("processing-time", "X-Processing-Time")
        .with_transform(transform("add_suffix", "ms"))
        .bidirectional("X-Request-ID", "request-id")
        .with_default(Generated("uuid"))
        .incoming("X-API-Version", "api-version")
        .with_default("v1")
        .skip_paths("/health", PathPattern("prefix", "/static"), "/pkg.*/Check")
        .build()
    )


def test_01_integer_directions_load_with_a_hint_and_others_are_refused() -> None:
    """Directions 0, 1 and 2 load with a hint; 3 is refused."""
    for number, direction in enumerate(Direction):
        found = loads(f"mappings: [{{http_header: X-A, grpc_metadata: a, direction: {number}}}]")
        assert found.config.mappings[0].direction is direction
        assert direction in found.hints[0]
    assert refused("mappings: [{header: X-A, direction: 3}]") == [("mappings[0].direction", "INVALID_VALUE")]


def test_02_build_validates_and_with_before_any_mapping_is_a_mistake() -> None:
    """The builder reports everything at once, also a `with_` that had no mapping to change."""
    with pytest.raises(Problem) as caught:
        MappingBuilder().with_required().incoming("Cookie").incoming("X-A", "grpc-a").build()
    assert [error.code for error in caught.value.errors] == ["NO_MAPPING", "NAME_REFUSED", "NAME_REFUSED"]


def test_03_transforms_are_in_files_and_each_way_has_its_own() -> None:
    """A bidirectional prefix comes off on the way in and goes on on the way out; bytes of UTF-8 stay whole."""
    mapping = loads("""
mappings:
  - {header: Authorization, incoming: [{remove_prefix: "Bearer "}], outgoing: [{add_prefix: "Bearer "}]}
""")
    assert mapping.request("/", [("authorization", "Bearer x")]) == [("authorization", "x")]
    assert mapping.response("/", [("authorization", "x")]) == [("Authorization", "Bearer x")]
    assert transform("truncate", 3).apply(["äöüß"]) == ["äöü"]
    message = refused("mappings: [{header: X-A, transform: [trim]}]")
    assert message == [("mappings[0].transform", "CONTRADICTION")]


def test_03b_a_transform_can_reject() -> None:
    """A rejection is a problem 400 that names the header and does not hold the value."""
    mapping = MappingBuilder().incoming("Authorization").with_transform(transform("jwt")).build()
    with pytest.raises(Problem) as caught:
        mapping.request("/", [("authorization", "s3cr3t")])
    assert caught.value.status == 400
    assert "Authorization" in caught.value.detail and "s3cr3t" not in str(caught.value.to_document())


def test_04_secrets_are_masked_in_logs_and_whole_for_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """`sensitive` masks what people see, not what the service gets."""
    mapping = MappingBuilder().incoming("Authorization").incoming("X-Pin", "pin").with_sensitive().debug().build()
    with caplog.at_level(logging.INFO, "formicary.headers"):
        metadata = mapping.request("/", [("authorization", "Bearer abc"), ("x-pin", "1234")])
    assert metadata == [("authorization", "Bearer abc"), ("pin", "1234")]
    assert "Authorization" in caplog.text and "abc" not in caplog.text and "1234" not in caplog.text


def test_05_generated_defaults_are_generated_and_no_default_is_transformed() -> None:
    """`auto-generated` is an id, another each time; a default reaches the service as it is."""
    mapping = loads("""
mappings:
  - {http_header: X-Request-ID, grpc_metadata: request-id, direction: 0, default_value: auto-generated}
  - {header: X-V, metadata: v, direction: incoming, default: v1, transform: [upper]}
""")
    first, second = dict(mapping.request("/", [])), dict(mapping.request("/", []))
    assert len(str(first["request-id"])) == 36 and first["request-id"] != second["request-id"]
    assert first["v"] == "v1"


def test_06_every_missing_header_is_in_one_problem() -> None:
    """Required headers that are missing refuse the call, all of them named."""
    mapping = MappingBuilder().incoming("X-A").with_required().incoming("X-B").with_required().build()
    with pytest.raises(Problem) as caught:
        mapping.request("/", [("x-c", "1")])
    assert (caught.value.status, caught.value.grpc_code) == (400, "INVALID_ARGUMENT")
    assert [error.field for error in caught.value.errors] == ["headers.X-A", "headers.X-B"]


@pytest.mark.parametrize("path", ["/health", "/health?x=1", "/static", "/static/a/b", "/pkg.Health/Check"])
def test_07_skip_paths_are_exact_prefix_and_glob_both_ways(path: str) -> None:
    """Nothing crosses on a skipped path, in no direction, and nothing is required there."""
    mapping = article()
    assert mapping.request(path, []) == []
    assert mapping.response(path, [("processing-time", "1")]) == []
    for other in ("/healthy", "/statics", "/pkg.a/b/Check"):
        assert not mapping.skips(other)


def test_08_overwrite_means_what_is_there_already() -> None:
    """Without overwrite the first value stays, with it the last one counts; a default never replaces a value."""
    headers = [("x-a", "1"), ("x-b", "2")]
    rules = (Rule(header="X-A", metadata="k"), Rule(header="X-B", metadata="k", default="d"))
    assert compile_mapping(MappingConfig(mappings=rules)).request("/", headers) == [("k", "1")]
    overwriting = compile_mapping(MappingConfig(mappings=rules, overwrite=True))
    assert overwriting.request("/", headers) == [("k", "2")]
    assert overwriting.request("/", headers[:1]) == [("k", "1")]


def test_09_case_never_matters() -> None:
    """Header names compare without case, and case_sensitive is answered with a hint."""
    mapping = loads("{case_sensitive: true, mappings: [{header: x-REQUEST-id, metadata: Request-ID}]}")
    assert mapping.request("/", [("X-Request-Id", "1")]) == [("request-id", "1")]
    assert "case_sensitive" in mapping.hints[0]


def test_10_all_values_of_a_repeated_header_arrive_in_order() -> None:
    """Nothing of a repeated header is lost, both ways."""
    mapping = MappingBuilder().bidirectional("X-Tag", "tag").build()
    assert mapping.request("/", [("x-tag", "a"), ("X-Tag", "b")]) == [("tag", "a"), ("tag", "b")]
    assert mapping.response("/", [("tag", "a")], [("tag", "b")]) == [("X-Tag", "a"), ("X-Tag", "b")]


def test_11_a_value_is_delivered_once_and_transformed() -> None:
    """The service finds one value under a key: the transformed one."""
    metadata = article().request("/", [("authorization", "Bearer abc")])
    assert [value for key, value in metadata if key == "auth-token"] == ["abc"]


def test_12_one_header_may_become_two_keys() -> None:
    """`authorization` and `auth-token` both come from Authorization, one of them transformed."""
    metadata = article().request("/", [("authorization", "Bearer abc")])
    assert metadata[:2] == [("authorization", "Bearer abc"), ("auth-token", "abc")]


def test_13_nothing_unmapped_crosses() -> None:
    """Cookies, hop-by-hop headers and unknown ones stay; what is allowed crosses; cookies cannot be allowed."""
    mapping = MappingBuilder().allow("accept-language").allow_response("etag").build()
    sent = [("cookie", "a"), ("connection", "close"), ("x-any", "1"), ("accept-language", "de")]
    assert mapping.request("/", sent) == [("accept-language", "de")]
    assert mapping.response("/", [("etag", "1"), ("inner", "2"), ("set-cookie", "a=b")]) == [("etag", "1")]
    with pytest.raises(Problem):
        MappingBuilder().allow("cookie").build()


def test_14_identities_from_strangers_are_stripped() -> None:
    """X-User-ID and Grpc-Metadata-* count from trusted peers alone."""
    mapping = MappingBuilder().incoming("X-User-ID", "user-id").grpc_gateway().trusted_peers("10.0.0.0/8").build()
    sent = [("x-user-id", "root"), ("grpc-metadata-role", "admin"), ("accept", "*/*")]
    assert mapping.request("/", sent) == [("grpcgateway-accept", "*/*")]
    trusted = mapping.request("/", sent, mapping.trusts("ipv4:10.1.2.3:99"))
    assert ("user-id", "root") in trusted and ("role", "admin") in trusted
    assert not mapping.trusts("ipv4:11.1.2.3:99") and not mapping.trusts("unix:")
    assert mapping.strips("Grpc-Metadata-Role") and mapping.strips("X-User-Id")


# 15: interceptors that do something, and 16: trailers, errors and streams: tests/integration/headers.


def test_16_trailers_and_errors_are_mapped() -> None:
    """A trailer becomes a header, and a request's generated id comes back although the service said nothing."""
    mapping = article()
    metadata = mapping.request("/", [("authorization", "x")])
    back = mapping.response("/", [], [("processing-time", "150")], metadata)
    assert back == [("X-Processing-Time", "150ms"), ("X-Request-ID", dict(metadata)["request-id"])]


def test_17_the_content_type_of_a_reply_cannot_be_mapped() -> None:
    """A mapping that would label the reply as application/grpc is refused."""
    assert refused("mappings: [{header: Content-Type, metadata: ct}]") == [("mappings[0].header", "NAME_REFUSED")]


def test_18_the_presets_know_the_headers_of_today() -> None:
    """The production preset has W3C tracing, idempotency, conditions, rate limits, deprecation and the X- aliases."""
    mapping = MappingBuilder().preset("production").rate_limit().build()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metadata = dict(mapping.request("/", [("traceparent", trace), ("idempotency-key", "k"), ("if-match", "e")]))
    assert metadata["traceparent"] == trace and metadata["trace-id"] == trace[3:35]
    assert metadata["idempotency-key"] == "k" and metadata["if-match"] == "e" and "correlation-id" in metadata
    sent = [("ratelimit-limit", "100"), ("ratelimit-remaining", "7"), ("ratelimit-reset", "30"), ("retry-after", "30")]
    back = dict(mapping.response("/", sent))
    assert back["X-RateLimit-Limit"] == "100" and back["RateLimit"] == '"default";r=7;t=30'
    assert back["RateLimit-Policy"] == '"default";q=100' and back["Retry-After"] == "30"
    assert {"X-Trace-ID", "X-Correlation-ID", "X-Content-Type-Options"} <= back.keys()
    begun = dict(mapping.request("/", [("traceparent", "garbage")]))
    assert str(begun["traceparent"])[3:35] == begun["trace-id"]


def test_19_binary_metadata_is_base64_in_headers() -> None:
    """-bin keys hold bytes, lists joined by commas are taken apart, and text that is no base64 is refused."""
    mapping = MappingBuilder().bidirectional("X-Blob", "blob-bin").build()
    assert mapping.request("/", [("x-blob", "AAE=,-_8")]) == [("blob-bin", b"\0\1"), ("blob-bin", b"\xfb\xff")]
    assert mapping.response("/", [("blob-bin", b"\0\1")]) == [("X-Blob", "AAE=")]
    with pytest.raises(Problem):
        mapping.request("/", [("x-blob", "plain text!")])


@pytest.mark.parametrize("name", ["grpc-status", ":path", "te", "Cookie", "Set-Cookie", "a b", "Grpc-Metadata-X", ""])
def test_20_reserved_and_malformed_names_are_refused(name: str) -> None:
    """Names that belong to gRPC, to one connection or to nobody cannot be mapped."""
    with pytest.raises(Problem):
        compile_mapping(MappingConfig(mappings=(Rule(header=name, metadata="k"),)))


def test_20b_line_breaks_sizes_and_counts_are_bounded() -> None:
    """CR, LF and NUL refuse a request and drop a response value; so do sizes beyond the bounds."""
    mapping = loads("{limits: {max_values: 2, max_value_bytes: 8, max_total_bytes: 30}, mappings: [{header: X-A}]}")
    for values in (["a\r\nb"], ["a\0"], ["é"], ["123456789"], ["1", "2", "3"]):
        with pytest.raises(Problem):
            mapping.request("/", [("x-a", value) for value in values])
        assert mapping.response("/", [("x-a", value) for value in values]) == []
    with pytest.raises(Problem):
        loads("{limits: {max_total_bytes: 10}, mappings: [{header: X-A}]}").request("/", [("x-a", "123456789")])
    percent = loads("{non_ascii: percent, mappings: [{header: X-A}]}")
    assert percent.request("/", [("x-a", "caf\xc3\xa9\tx")]) == [("x-a", "caf%C3%A9 x")]


def test_21_files_refuse_unknown_keys_with_line_and_column(tmp_path: Path) -> None:
    """All mistakes of a file come at once, each with its place; TOML with its path."""
    file = tmp_path / "m.yaml"
    file.write_text("mapings: []\nmappings:\n  - header: X-A\n    metadta: a\n    incoming: [trimm]\n")
    with pytest.raises(Problem) as caught:
        load(file)
    places = [(error.field, error.line, error.column) for error in caught.value.errors]
    assert places == [("mapings", 1, 1), ("mappings[0].metadta", 4, 5), ("mappings[0].incoming[0]", 5, 16)]
    toml = tmp_path / "m.toml"
    toml.write_text('[[mappings]]\nheader = "X-A"\ndirection = "incoming"\ntransform = ["trim"]\n')
    assert load(toml).request("/", [("x-a", " 1 ")]) == [("x-a", "1")]
    toml.write_text('[[mappings]]\nheader = "Cookie"\n')
    with pytest.raises(Problem) as refusal:
        load(toml)
    assert refusal.value.errors[0].field == "mappings[0].header"


def test_22_statistics_really_count_from_every_thread() -> None:
    """Counters are exact with threads, and Prometheus reads them."""
    mapping = article()

    def call() -> None:
        for _ in range(500):
            mapping.request("/", [("authorization", "Bearer x")])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(Problem):
        mapping.request("/", [])
    counts = {(rule.metadata, rule.direction): rule.counts for rule in mapping.statistics.read()}
    assert counts["authorization", "incoming"]["mapped"] == 2000
    assert counts["authorization", "incoming"]["missing"] == 1
    assert counts["api-version", "incoming"]["defaulted"] == 2001
    labels = 'header="Authorization",metadata="auth-token",direction="incoming",outcome="mapped"'
    assert f"formicary_headers_total{{{labels}}} 2000" in mapping.statistics.exposition()
