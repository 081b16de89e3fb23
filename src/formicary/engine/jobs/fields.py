"""The field table: every field a job file may have, once. Parser, JSON Schema and reference documentation read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        name: Name in YAML.
        kind: How it is read, one of :data:`formicary.engine.jobs.readers.READERS`.
        doc: One sentence.
        attribute: Name in the model; empty when it is accepted and not kept.
        default: As shown in the documentation.
        required: Whether it must be there.
        least: Smallest number.
        most: Largest number, or most characters of a text.
        choices: The values that are possible.
        aliases: Other names, read the same way.
        for_containers: Concerns containers and pods only: refused where the method needs them, else without effect.
    """

    name: str
    kind: str
    doc: str
    attribute: str = "="
    default: object = None
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    for_containers: bool = False

    @property
    def target(self) -> str:
        """Name of the attribute in the model, empty when it is not kept."""
        return self.name if self.attribute == "=" else self.attribute


JOB_FIELDS: tuple[Field, ...] = (
    Field("job_type", "name", "Name of the job; one name has many versions.", required=True, most=100),
    Field("description", "text", "What the job does.", most=10_000),
    Field("sem_version", "semver", "Version as people call it, like 1.2.0 or 1.0-rc.", most=50),
    Field("url", "text", "Where the job is documented.", most=200),
    Field("platform", "text", "Platform the job is made for.", most=100),
    Field("tasks", "tasks", "The tasks, at most 10,000.", required=True),
    Field("job_variables", "variables", "Variables of all tasks; may hold templates.", "variables"),
    Field("variables", "variables", "The same as job_variables.", "variables"),
    Field("required_params", "text_list", "Names that a submission or a variable must give."),
    Field("parameters", "parameters", "Typed parameters: name, type, required, default."),
    Field(
        "max_concurrency", "int", "Running executions at a time; absent or 0 means no limit.", least=0, most=1_000_000
    ),
    Field("priority", "int", "From 0 to 10; higher starts first.", default=0, least=0, most=10),
    Field("scheduled_at", "moment", "Not before this time (RFC 3339)."),
    Field("skip_if", "template", "Ends the job as FAILED with ERR_FILTERED_JOB when it renders to true."),
    Field("cron_trigger", "cron", "When the job starts by itself: 5 to 7 cron fields, or a mapping.", most=200),
    Field("triggers", "triggers", "Events that start the job: webhook, queue, s3; at most 5."),
    Field("queue", "name", "Queue of the job, where the server has queues.", most=100),
    Field("gang", "gang", "Tasks that start together or not at all: job, or tasks and min."),
    Field(
        "deadline", "deadline", "When the job should have ended; a time, or a duration after its submission.", most=100
    ),
    Field("estimated_runtime", "duration", "How long the job takes.", "estimated_runtime_s"),
    Field(
        "tenant_limits",
        "tenant_limits",
        "What each organisation, or each that is named, and its users may have of the jobs of this type: "
        "max_concurrent_jobs, max_concurrent_tasks, max_cpu_hours_per_day (…_week, …_month), users.",
    ),
    Field("timeout", "duration", "Longest time of the whole job.", "timeout_s", default="2h"),
    Field("pause_time", "duration_range", "How long a paused job rests.", "pause_time_s", default="30s to 40s"),
    Field("retry", "int", "How often a failed job is repeated.", default=0, least=0, most=1000),
    Field("delay_between_retries", "duration_range", "Wait before a retry.", "delay_between_retries_s", "5s to 14s"),
    Field("retry_backoff_policy", "backoff", "Growing waits: min, max, factor, jitter.", "retry_backoff"),
    Field(
        "hard_reset_after_retries", "int", "After so many retries all tasks run anew.", default=3, least=0, most=1000
    ),
    Field("error_handling", "error_handling", "Retries, and where a job goes that no retry helps."),
    Field(
        "circuit_breaker",
        "circuit_breaker",
        "When too many jobs of this type fail, the others wait.",
    ),
    Field(
        "retention_days_for_failed",
        "int",
        "Days to keep a failed job; 0 = for ever. Default: 30.",
        least=0,
        most=36500,
    ),
    Field("retention_days_for_completed", "int", "The same of a completed one. Default: 7.", least=0, most=36500),
    Field("retention_days_for_cancelled", "int", "The same of a cancelled one. Default: 30.", least=0, most=36500),
    Field(
        "notify",
        "object",
        "Who is told when the job ends: email (recipients, when, subject, body), slack (url, recipients, when, text); "
        "when is onSuccess, onFailure, onFixed, always, onStart, onPause, onApproval, onDeadLetter, never or a list.",
    ),
    Field(
        "webhook",
        "object",
        "Call that is made when the job or a task of it ends: url, method, headers, query, when, secret_config, tasks.",
    ),
    Field(
        "resources",
        "demands",
        "Licences, locks and quotas that the job holds from its start to its end: resource_type, value.",
    ),
    Field(
        "public_plugin",
        "bool",
        "Other organisations may fork and submit the job, as one of their own.",
        default=False,
    ),
    Field("labels", "text_map", "Free labels."),
    Field(
        "template",
        "choice",
        "Template language of this file; none leaves braces as they are.",
        default="go",
        choices=("go", "jinja", "none"),
    ),
    Field(
        "dynamic_template_tasks",
        "bool",
        "The template makes the tasks; it is expanded at submission.",
        default=False,
        aliases=("parse_template_on_load",),
    ),
    Field("tags", "any", "Accepted for older files; tags are given by the tasks.", ""),
    Field("methods", "any", "Accepted for older files; methods are given by the tasks.", ""),
    Field("filter", "any", "Accepted for older files; filters belong to triggers.", ""),
)
"""Fields of a job, in the order of the documentation."""

TASK_FIELDS: tuple[Field, ...] = (
    Field("task_type", "name", "Name of the task, unique in the job.", required=True, most=100),
    Field("method", "method", "What runs it. Absent: KUBERNETES with container fields, else SHELL."),
    Field("description", "text", "What the task does.", most=10_000),
    Field("on_completed", "target", "Next task or action when it completed.", most=100),
    Field("on_failed", "target", "Next task or action when it failed.", most=100),
    Field("on_exit_code", "routes", "Next task or action by exit code or state."),
    Field("dependencies", "text_list", "Tasks that have to end before."),
    Field("allow_failure", "bool", "Its failure does not fail the job.", default=False),
    Field("always_run", "bool", "Runs at the end whatever happened.", default=False),
    Field("allow_start_if_completed", "bool", "Runs again when a job is restarted.", default=False),
    Field("except", "template", "Leaves the task out when it renders to true.", "except_"),
    Field("timeout", "duration", "Longest time of one attempt.", "timeout_s", default="1h"),
    Field("total_timeout", "duration", "Longest time of all attempts together.", "total_timeout_s"),
    Field("delay", "duration", "Wait before the first attempt.", "delay_s", default="0s"),
    Field(
        "retry", "int", "How often a failed attempt is repeated; bounds polls too.", default=0, least=0, most=100_000
    ),
    Field("delay_between_retries", "duration_range", "Wait before a retry.", "delay_between_retries_s", "1s to 2s"),
    Field("retry_backoff_policy", "backoff", "Growing waits: min, max, factor, jitter.", "retry_backoff"),
    Field(
        "max_lost_attempts", "int", "How often its ant may die before it is given up.", default=5, least=1, most=1000
    ),
    Field("estimated_runtime", "duration", "How long it takes.", "estimated_runtime_s"),
    Field("before_script", "script", "Commands before the script."),
    Field(
        "script",
        "script",
        "Commands, each in a shell of its own, or in what it begins with: `#!/bin/bash`; with HTTP methods, URLs.",
    ),
    Field("after_script", "script", "Commands that always run; their errors do not count."),
    Field("url", "text", "URL of an HTTP or WEBSOCKET task.", most=4000),
    Field("headers", "text_map", "Headers of an HTTP, WEBSOCKET or MESSAGING task."),
    Field("query", "text_map", "HTTP query."),
    Field("function", "function", "Python function to call: package.module:name.", most=400),
    Field("arguments", "object_map", "What each parameter of the function gets; absent: variables of that name."),
    Field("variables", "variables", "Variables of this task alone.", aliases=("task_variables",)),
    Field("environment", "environment", "Environment variables."),
    Field("helper_environment", "environment", "Environment of the helper container."),
    Field("working_dir", "text", "Directory to run in.", most=1000, aliases=("working_directory",)),
    Field("execute_command_without_shell", "bool", "Runs commands without a shell.", default=False),
    Field("tags", "tags", "The ant must have all of them."),
    Field(
        "resources",
        "needs",
        "Amounts that it holds of its ant, like cpu: 2, memory: 8Gi, or requests and limits of them; or licences, "
        "locks and quotas that it holds while it runs: resource_type, value.",
    ),
    Field(
        "devices",
        "devices",
        "Devices of its ant that it uses alone while it runs: match (attributes), expressions, count.",
    ),
    Field(
        "placement", "placement", "Which ants may run it, and which suit it: labels, expressions, versions, preferred."
    ),
    Field(
        "affinity",
        "affinity",
        "Which ants suit it, and which other tasks it has to be near to or apart from, as Kubernetes places pods.",
    ),
    Field("cost_factor", "number", "Weight of the task in cost reports.", least=0),
    Field(
        "speculative_backup",
        "backup",
        "A second copy begins where it lags behind; the first to end counts: true, or thresholds.",
    ),
    Field(
        "circuit_breaker",
        "circuit_breaker",
        "When too many attempts fail, of all tasks that call the same host or downstream, the others wait.",
    ),
    Field(
        "container",
        "container",
        "Image, pull_policy, cpu_limit, memory_limit and requests (or resources), volumes, environment, user, …",
        for_containers=True,
    ),
    Field("helper", "container", "Helper container, of Kubernetes only.", for_containers=True),
    Field(
        "services",
        "services",
        "Containers beside it: name, alias, image, command, entrypoint, ports, volumes, limits.",
        for_containers=True,
    ),
    Field("host_network", "bool", "Network of the host.", default=False, aliases=("hostNetwork",), for_containers=True),
    Field("privileged", "bool", "Privileged container.", default=False, for_containers=True),
    Field("network_mode", "text", "Network of the container.", most=100, aliases=("networkMode",), for_containers=True),
    Field("node_selector", "text_map", "Labels of the node.", aliases=("nodeSelector",), for_containers=True),
    Field(
        "node_tolerations",
        "tolerations",
        "Taints it bears, key=value: effect; the same as tolerations.",
        "tolerations",
        aliases=("nodeTolerations",),
        for_containers=True,
    ),
    Field("tolerations", "tolerations", "Taints it bears: key, operator, value, effect.", for_containers=True),
    Field("pod_labels", "text_map", "Labels of the pod.", aliases=("podLabels", "pod_label"), for_containers=True),
    Field("pod_annotations", "text_map", "Annotations of the pod.", aliases=("podAnnotations",), for_containers=True),
    Field("artifacts", "artifacts", "Files to keep: paths, when (onSuccess, onFailure, always), expires_after."),
    Field(
        "artifact_ids",
        "text_list",
        "Kept files to fetch, of this job, of others or put there by people (`formicary artifacts put`).",
    ),
    Field("artifact_key_prefix", "text", "Where files are kept.", most=500),
    Field("artifacts_dir", "text", "Directory of artifacts.", most=1000),
    Field("cache", "cache", "Files to keep between jobs: paths, key or key_paths, expires_after."),
    Field("cache_dir", "text", "Directory of the cache.", most=1000),
    Field("job_version", "text", "Version of the job to start.", most=100),
    Field("fork_job_type", "text", "Job to start.", most=100),
    Field("fork_job_version", "text", "Version of the job to start.", most=100),
    Field("await_forked_tasks", "text_list", "Tasks whose jobs to wait for."),
    Field(
        "sub_workflow",
        "object",
        "What a child job gets and gives: input_params, output_variables, wait_for_completion.",
    ),
    Field(
        "fan_out",
        "object",
        "Runs the task, or forks a job, per element of a list: source, item_var, max_parallel, fail_fast.",
    ),
    Field(
        "approval_policy",
        "object",
        "Who has to approve: min_approvals, allowed_roles, allowed_users, require_unanimous, sla_deadline, "
        "timeout_action (AUTO_APPROVE, AUTO_REJECT, ESCALATE), escalation_recipients, escalation_message.",
    ),
    Field(
        "messaging_request_queue",
        "text",
        "Where a MESSAGING task is sent: a subject of NATS.",
        most=300,
        aliases=("messaging_queue",),
    ),
    Field("messaging_reply_queue", "text", "Where the worker may answer; absent: an inbox of the attempt.", most=300),
    Field("webhook", "object", "Call that is made when the task ends; as for the job."),
    Field("notify", "object", "Who is told when the task ends; as for the job."),
    Field("error_handling", "error_handling", "Retries, and where a job goes that no retry helps."),
    Field("report_stdout", "bool", "Output goes into the report.", default=False),
    Field("debug", "bool", "Keeps what helps to find errors.", default=False),
    Field("labels", "text_map", "Free labels."),
    Field("context_variables", "any", "Accepted for older files; use variables.", ""),
)
"""Fields of a task, in the order of the documentation."""


def _by_name(table: tuple[Field, ...]) -> Mapping[str, Field]:
    found = {row.name: row for row in table}
    found.update((alias, row) for row in table for alias in row.aliases)
    return found


JOB_BY_NAME = _by_name(JOB_FIELDS)
TASK_BY_NAME = _by_name(TASK_FIELDS)
