"""What goes into a forked job and what comes back where a task says so in templates of its own.

A task is rendered once, before anything is forked, when neither the element of a list nor the outputs of a forked job
exist. What names the element is therefore rendered once more for each of them, from the text of the definition; and
`output_variables` may make a value of its outputs by a template as well as rename one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs.configs import ConfigView, secret_in
from formicary.engine.jobs.fan_out import item_name
from formicary.engine.jobs.model import TaskDefinition
from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.engine import render_text
from formicary.engine.queen.core.outcome import merged_variables

if TYPE_CHECKING:
    from formicary.engine.queen.core.records import TaskRun

_ONE_NAME = re.compile(r"\{\{-?\s*\.?(\w+)\s*-?\}\}\Z")


def pairs_of(task: TaskDefinition, name: str) -> Iterator[tuple[str, object]]:
    """Names and values of `input_params` or `output_variables`."""
    pairs: Any = (task.sub_workflow or {}).get(name) or ()
    return ((str(pair["name"]), pair.get("value")) for pair in pairs if isinstance(pair, Mapping) and "name" in pair)


def per_element(source: TaskDefinition) -> dict[str, str]:
    """The parameters of a task of the definition whose templates name the element of its fan-out, by name."""
    if source.is_static or source.fan_out is None:
        return {}
    names = _naming(item_name(source))
    given = pairs_of(source, "input_params") if source.sub_workflow is not None else source.variables.items()
    return {name: value for name, value in given if isinstance(value, str) and names.search(value)}


@lru_cache(maxsize=64)
def _naming(item: str) -> re.Pattern[str]:
    return re.compile(r"\{\{[^}]*\b" + re.escape(item) + r"(?:_index)?\b")


def first_element(source: TaskDefinition, seen: Mapping[str, object]) -> dict[str, object]:
    """What stands for the element while the task itself is rendered, so that templates over it have something to read.

    What they give is not used: it is rendered again for each element.
    """
    if source.method != "FAN_OUT_JOB" or not per_element(source):
        return {}
    items: object = (source.fan_out or {}).get("source")
    if isinstance(items, str):
        items = seen.get(items.strip(), items)
    if isinstance(items, str):
        try:
            items = msgspec.json.decode(items)
        except msgspec.DecodeError:
            return {}
    name = item_name(source)
    return {name: items[0], f"{name}_index": 0} if isinstance(items, list) and items else {}


def element_params(
    run: TaskRun, texts: Mapping[str, str], element: Mapping[str, object], configs: ConfigView, now: float
) -> dict[str, object]:
    """These templates for one element. What is the element alone keeps its type. Raises TemplateError.

    Secrets are not there for them: they are never passed to other jobs.
    """
    seen = merged_variables(run.job, dict(run.task.variables), configs)
    seen = {name: value for name, value in seen.items() if not secret_in(value)} | dict(element)
    return {name: _value(run, text, seen, now) for name, text in texts.items()}


def outputs_given(run: TaskRun, outputs: Mapping[str, object], now: float) -> dict[str, object]:
    """The forked job's outputs, or those that `output_variables` names, under the names it gives them.

    A pair is read as older engines read it: `name` is the forked job's, `value` the own name. Where the forked job has
    no such output and one that is called like `value`, it is the other way round. What it has not has no value here.
    """
    pairs = list(pairs_of(run.task, "output_variables"))
    if not pairs:
        return dict(outputs)
    written = dict(pairs_of(run.source, "output_variables"))  # their templates are about the forked job
    found: dict[str, object] = {}
    for name, value in pairs:
        text = written.get(name)
        if isinstance(text, str) and "{{" in text:
            try:
                found[name] = _value(run, text, outputs, now)
            except TemplateError:
                found[name] = None
        else:
            other = str(value or name)
            if name in outputs:
                found[other] = outputs[name]
            elif other in outputs:
                found[name] = outputs[other]
    return found


def _value(run: TaskRun, text: str, seen: Mapping[str, object], now: float) -> object:
    alone = _ONE_NAME.match(text.strip())
    if alone is not None:
        return seen.get(alone.group(1))
    dialect = run.job.definition.model.template
    return render_text(text, seen, dialect, now=now, rng=random.Random(f"{run.job.id}/{run.position}"))
