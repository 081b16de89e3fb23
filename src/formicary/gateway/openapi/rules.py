"""protovalidate rules as JSON Schema keywords.

A keyword never refuses what the rule allows. What a rule says and no keyword can say (bounds of times, of 64-bit
integers written as text, bytes of a text) stands in the description, so that a reader still learns it.
"""

from __future__ import annotations

import re
from typing import Any

from formicary.gateway.openapi.wellknown import Json

IGNORE_IF_ZERO, IGNORE_ALWAYS = 1, 3

_FORMATS = {
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri_ref": "uri-reference",
    "uuid": "uuid",
}
_PATTERNS = {
    "tuuid": "^[0-9a-fA-F]{32}$",
    "ulid": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$",
    "protobuf_fqn": r"^[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*$",
    "protobuf_dot_fqn": r"^\.[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*$",
}
_CHOICES = {"ip": ("ipv4", "ipv6"), "address": ("hostname", "ipv4", "ipv6")}
_SAID = {
    "ip_with_prefixlen": "An IP address with prefix length.",
    "ipv4_with_prefixlen": "An IPv4 address with prefix length.",
    "ipv6_with_prefixlen": "An IPv6 address with prefix length.",
    "ip_prefix": "An IP network.",
    "ipv4_prefix": "An IPv4 network.",
    "ipv6_prefix": "An IPv6 network.",
    "host_and_port": "A host with its port, like example.com:443.",
    "well_known_regex": "The name or the value of an HTTP header.",
}
# Syntax of RE2 that regular expressions of JSON Schema (ECMA-262) do not have.
_RE2_ONLY = re.compile(r"\(\?[imsUP]|\\[AzQECpP]|\[\[:|\\x\{")


def constrain(schema: Json, rules: Any) -> Json:
    """The schema of one value with the keywords of its rules.

    Args:
        schema: Of the value without rules.
        rules: ``buf.validate.FieldRules`` of the value; those of lists, maps and presence are not looked at.

    Returns:
        A new schema; sentences for what has no keyword are in ``description``.
    """
    kind = rules.WhichOneof("type")
    if kind is None:
        return schema
    inner = getattr(rules, kind)
    match kind:
        case "string":
            found = _string(schema, inner)
        case "bytes":
            found = _bytes(schema, inner)
        case "bool":
            found = {**schema, "const": inner.const} if inner.HasField("const") else schema
        case "float" | "double":
            found = _number(_floating(schema, inner), inner)
        case "int64" | "uint64" | "sint64" | "fixed64" | "sfixed64":
            found = _wide(schema, inner)
        case "int32" | "uint32" | "sint32" | "fixed32" | "sfixed32":
            found = _number(schema, inner)
        case "duration" | "timestamp":
            found = _time(schema, inner)
        case "any":
            found = _any(schema, inner)
        case _:
            found = schema
    return found


def said(schema: Json, *sentences: str) -> Json:
    """The schema with sentences added to its description."""
    before = schema.get("description")
    text = " ".join([*([str(before)] if before else []), *(one for one in sentences if one)])
    return {**schema, "description": text} if text else schema


def all_of(schema: Json, more: list[Json]) -> Json:
    """The schema with further schemas that must hold, too; a single one is merged where no keyword is in both."""
    if len(more) == 1 and not schema.keys() & more[0].keys():
        return {**schema, **more[0]}
    before = schema.get("allOf")
    return {**schema, "allOf": [*(before if isinstance(before, list) else []), *more]} if more else schema


def listed(schema: Json, rules: Any, form: Any = None) -> Json:
    """``const``, ``in`` and ``not_in`` of any rules, each value written by ``form``."""
    write = form or (lambda value: value)
    found = dict(schema)
    if "const" in rules.DESCRIPTOR.fields_by_name and rules.HasField("const"):
        found["const"] = write(rules.const)
    allowed = list(getattr(rules, "in"))
    if allowed:
        found["enum"] = [write(value) for value in allowed]
    if rules.not_in:
        found = all_of(found, [{"not": {"enum": [write(value) for value in rules.not_in]}}])
    return found


def sized(schema: Json, rules: Any, pairs: tuple[tuple[str, str], ...]) -> Json:
    """Bounds of sizes: each rule that is set becomes its keyword."""
    return {**schema, **{keyword: int(getattr(rules, rule)) for rule, keyword in pairs if rules.HasField(rule)}}


def _string(schema: Json, rules: Any) -> Json:
    found = sized(schema, rules, (("min_len", "minLength"), ("max_len", "maxLength")))
    if rules.HasField("len"):
        found |= {"minLength": int(rules.len), "maxLength": int(rules.len)}
    sentences = []
    if rules.HasField("max_bytes"):
        found.setdefault("maxLength", int(rules.max_bytes))
        sentences.append(f"At most {rules.max_bytes} bytes in UTF-8.")
    if rules.HasField("min_bytes"):
        found.setdefault("minLength", -(-int(rules.min_bytes) // 4))
        sentences.append(f"At least {rules.min_bytes} bytes in UTF-8.")
    if rules.HasField("len_bytes"):
        sentences.append(f"Exactly {rules.len_bytes} bytes in UTF-8.")
    patterns: list[str] = []
    if rules.HasField("pattern"):
        if _RE2_ONLY.search(rules.pattern):
            sentences.append(f"Matches the RE2 expression {rules.pattern}")
        else:
            patterns.append(rules.pattern)
    patterns += [f"^{_literal(rules.prefix)}"] if rules.prefix else []
    patterns += [f"{_literal(rules.suffix)}$"] if rules.suffix else []
    patterns += [_literal(rules.contains)] if rules.contains else []
    form = rules.WhichOneof("well_known")
    if form is not None and getattr(rules, form):
        patterns += [_PATTERNS[form]] if form in _PATTERNS else []
        found |= {"format": _FORMATS[form]} if form in _FORMATS else {}
        found |= {"anyOf": [{"format": one} for one in _CHOICES[form]]} if form in _CHOICES else {}
        sentences.append(_SAID.get(form, ""))
    found = listed(all_of(found, [{"pattern": one} for one in patterns]), rules)
    if rules.not_contains:
        found = all_of(found, [{"not": {"pattern": _literal(rules.not_contains)}}])
    return said(found, *sentences)


def _literal(text: str) -> str:
    """The text as a regular expression that ECMA-262 reads with the flag u, and Python and Rust read alike."""
    return re.sub(r"[\^$\\.*+?()\[\]{}|/]", lambda match: "\\" + match.group(0), text)


def _bytes(schema: Json, rules: Any) -> Json:
    """Bounds count bytes; base64 may come with or without its padding."""
    found = dict(schema)
    least = int(rules.len if rules.HasField("len") else rules.min_len)
    if least:
        found["minLength"] = -(-least * 4 // 3)
    if rules.HasField("len") or rules.HasField("max_len"):
        found["maxLength"] = -(-int(rules.len if rules.HasField("len") else rules.max_len) // 3) * 4
    sentences = [
        f"{words} {getattr(rules, name)} bytes."
        for name, words in (("len", "Exactly"), ("min_len", "At least"), ("max_len", "At most"))
        if rules.HasField(name)
    ]
    return said(found, *sentences)


def _floating(schema: Json, rules: Any) -> Json:
    """Leaves out the words for infinite and undefined numbers that the rules refuse."""
    above, below = rules.WhichOneof("greater_than"), rules.WhichOneof("less_than")
    closed = above and below and not _outside(rules)
    listed_only = rules.HasField("const") or getattr(rules, "in")
    number: Json = {"type": "number", "format": "double" if rules.DESCRIPTOR.name == "DoubleRules" else "float"}
    if rules.finite or closed or listed_only:
        return number
    words = [*(["NaN"] if not above and not below else []), *(["Infinity"] if not below or _outside(rules) else [])]
    words += ["-Infinity"] if not above or _outside(rules) else []
    return {"anyOf": [number, {"type": "string", "enum": words}]}


def _outside(rules: Any) -> bool:
    """Whether the bounds mean everything outside of a range: the lower bound is the greater one."""
    above, below = rules.WhichOneof("greater_than"), rules.WhichOneof("less_than")
    return bool(above and below and getattr(rules, above) > getattr(rules, below))


def _bounds(rules: Any) -> list[tuple[str, Any]]:
    keywords = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
    names = [rules.WhichOneof("greater_than"), rules.WhichOneof("less_than")]
    return [(keywords[name], getattr(rules, name)) for name in names if name in keywords]


def _number(schema: Json, rules: Any) -> Json:
    bounds = _bounds(rules)
    if _outside(rules):
        schema = all_of(schema, [{"anyOf": [{keyword: value} for keyword, value in bounds]}])
        return listed(schema, rules)
    found = dict(schema)
    for keyword, value in bounds:
        found.pop({"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}.get(keyword, ""), None)
        found[keyword] = value
    return listed(found, rules)


def _wide(schema: Json, rules: Any) -> Json:
    """64-bit integers are written as text: signs and lists have keywords, other bounds are said."""
    found = listed(schema, rules, str)
    bounds = dict(_bounds(rules))
    least = bounds.get("minimum", bounds.get("exclusiveMinimum"))
    if least is not None and least >= 0 and not _outside(rules):
        positive = least > 0 or "exclusiveMinimum" in bounds
        found["pattern"] = "^0*[1-9][0-9]{0,19}$" if positive else "^-?0+$|^[0-9]{1,20}$"
    return said(found, _sentence(rules, bounds.items(), str))


def _sentence(rules: Any, bounds: Any, form: Any) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    parts = [f"{words[keyword]} {form(value)}" for keyword, value in bounds]
    text = (" or " if _outside_plain(rules) else ", ").join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _outside_plain(rules: Any) -> bool:
    try:
        return _outside(rules)
    except TypeError:  # durations and timestamps have no order
        return False


def _time(schema: Json, rules: Any) -> Json:
    sentences = [_sentence(rules, _bounds(rules), lambda value: value.ToJsonString())]
    for name, words in (("gt_now", "In the future."), ("lt_now", "In the past.")):
        if name in rules.DESCRIPTOR.fields_by_name and getattr(rules, name):
            sentences.append(words)
    if "within" in rules.DESCRIPTOR.fields_by_name and rules.HasField("within"):
        sentences.append(f"Within {rules.within.ToJsonString()} of now.")
    if rules.HasField("const"):
        sentences.append(f"Exactly {rules.const.ToJsonString()}.")
    return said(schema, *sentences)


def _any(schema: Json, rules: Any) -> Json:
    allowed = list(getattr(rules, "in"))
    kind: Json = {"type": "string", "enum": allowed} if allowed else {"type": "string"}
    if rules.not_in:
        kind = all_of(kind, [{"not": {"enum": list(rules.not_in)}}])
    return {**schema, "properties": {"@type": kind}}


def refuses(schema: Json, zero: object) -> bool:
    """Whether a schema with the keywords of rules refuses the zero value that an absent field stands for."""
    if "const" in schema and schema["const"] != zero:
        return True
    listed_values = schema.get("enum")
    if isinstance(listed_values, list) and zero not in listed_values:
        return True
    every = schema.get("allOf")
    if isinstance(every, list) and any(refuses(one, zero) for one in every):
        return True
    denied = schema.get("not")
    if isinstance(denied, dict) and zero in denied.get("enum", ()):
        return True
    if isinstance(zero, str):
        return _refuses_text(schema, zero)
    if isinstance(zero, (list, dict)):
        return bool(schema.get("minItems") or schema.get("minProperties"))
    return _refuses_number(schema, zero)


def _refuses_text(schema: Json, zero: str) -> bool:
    form, pattern = schema.get("format"), schema.get("pattern")
    if not zero and (schema.get("minLength") or form in (set(_FORMATS.values()) - {"uri-reference"})):
        return True
    return isinstance(pattern, str) and re.search(pattern, zero) is None


def _refuses_number(schema: Json, zero: object) -> bool:
    if isinstance(zero, bool) or not isinstance(zero, (int, float)):
        return False
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    return (
        (isinstance(least, (int, float)) and zero < least)
        or (isinstance(above, (int, float)) and zero <= above)
        or (isinstance(most, (int, float)) and zero > most)
        or (isinstance(below, (int, float)) and zero >= below)
    )
