"""What each role may call: one table, read by the interceptor and by nothing else.

A role holds within the caller's organisation. What concerns the whole server (its ants) is left to callers of the
server's own organisation, whatever their role elsewhere would allow.
"""

from __future__ import annotations

from formicary.server.auth.principal import HOME, Principal

ROLES = ("admin", "operator", "submitter", "viewer", "ant")

_ADMIN = frozenset({"admin"})
_OPERATE = _ADMIN | {"operator"}
_SUBMIT = _OPERATE | {"submitter"}
_VIEW = _SUBMIT | {"viewer"}

ALLOWED: dict[str, frozenset[str]] = {
    "/formicary.v1.JobService/SubmitJob": _SUBMIT,
    "/formicary.v1.JobService/SubmitJobs": _SUBMIT,
    "/formicary.v1.JobService/Session": _SUBMIT,
    "/formicary.v1.JobService/GetJob": _VIEW,
    "/formicary.v1.JobService/ListJobs": _VIEW,
    "/formicary.v1.JobService/ListElements": _VIEW,
    "/formicary.v1.JobService/ExplainJob": _VIEW,
    "/formicary.v1.JobService/EstimateJob": _VIEW,
    "/formicary.v1.JobService/FollowJob": _VIEW,
    "/formicary.v1.JobService/ReadLogs": _VIEW,
    "/formicary.v1.JobService/CancelJob": _OPERATE,
    "/formicary.v1.JobService/RetryJob": _OPERATE,
    "/formicary.v1.JobService/PauseJob": _OPERATE,
    "/formicary.v1.JobService/PurgeJobs": _ADMIN,
    "/formicary.v1.JobService/ResumeJob": _OPERATE,
    "/formicary.v1.ApprovalService/Vote": _VIEW,  # the task's policy says who may
    "/formicary.v1.ApprovalService/GetApproval": _VIEW,
    "/formicary.v1.ApprovalService/ListApprovals": _VIEW,
    "/formicary.v1.EventService/WatchEvents": _VIEW,
    "/formicary.v1.DefinitionService/RegisterDefinition": _SUBMIT,
    "/formicary.v1.DefinitionService/GetDefinition": _VIEW,
    "/formicary.v1.DefinitionService/ListDefinitions": _VIEW,
    "/formicary.v1.TriggerService/ListTriggers": _VIEW,
    "/formicary.v1.TriggerService/FireTrigger": _SUBMIT,
    "/formicary.v1.TriggerService/PauseTrigger": _OPERATE,
    "/formicary.v1.TriggerService/ResumeTrigger": _OPERATE,
    "/formicary.v1.TriggerService/ResetTrigger": _OPERATE,
    "/formicary.v1.TriggerService/ListTriggerLetters": _VIEW,
    "/formicary.v1.DeadLetterService/ListDeadLetters": _VIEW,
    "/formicary.v1.DeadLetterService/GetDeadLetter": _VIEW,
    "/formicary.v1.DeadLetterService/RedriveDeadLetters": _OPERATE,
    "/formicary.v1.DeadLetterService/PurgeDeadLetters": _OPERATE,
    "/formicary.v1.AlertService/ListAlerts": _VIEW,
    "/formicary.v1.BreakerService/ListBreakers": _VIEW,
    "/formicary.v1.BreakerService/ResetBreaker": _OPERATE,
    "/formicary.v1.LockService/ListLocks": _VIEW,
    "/formicary.v1.LockService/GetLock": _VIEW,
    "/formicary.v1.LockService/SetLock": _OPERATE,
    "/formicary.v1.LockService/DeleteLock": _OPERATE,
    "/formicary.v1.AntService/Session": _ADMIN | {"ant"},
    "/formicary.v1.AntService/ListAnts": _VIEW,
    "/formicary.v1.ArtifactService/ListArtifacts": _VIEW | {"ant"},
    "/formicary.v1.ArtifactService/GetArtifact": _VIEW,
    "/formicary.v1.ArtifactService/DownloadArtifact": _VIEW | {"ant"},
    "/formicary.v1.ArtifactService/PutArtifact": _SUBMIT,
    "/formicary.v1.ArtifactService/UploadArtifact": _SUBMIT | {"ant"},  # with a lease token: ants alone
    "/formicary.v1.UploadService/CreateUpload": _SUBMIT,
    "/formicary.v1.UploadService/GetUpload": _SUBMIT,
    "/formicary.v1.UploadService/AppendUpload": _SUBMIT,
    "/formicary.v1.UploadService/DeleteUpload": _SUBMIT,
    "/formicary.v1.ConfigService/SetConfig": _OPERATE,
    "/formicary.v1.ConfigService/ListConfigs": _VIEW,
    "/formicary.v1.ConfigService/GetConfig": _VIEW,
    "/formicary.v1.ConfigService/DeleteConfig": _OPERATE,
    "/formicary.v1.ConfigService/RevealConfig": _ADMIN,
    "/formicary.v1.ConfigService/RotateSecrets": _ADMIN,
    "/formicary.v1.NotificationService/ListNotifications": _VIEW,
    "/formicary.v1.NotificationService/RetryNotification": _OPERATE,
    "/formicary.v1.ErrorCodeService/SetErrorCode": _OPERATE,
    "/formicary.v1.ErrorCodeService/ListErrorCodes": _VIEW,
    "/formicary.v1.ErrorCodeService/GetErrorCode": _VIEW,
    "/formicary.v1.ErrorCodeService/DeleteErrorCode": _OPERATE,
    "/formicary.v1.ErrorCodeService/MatchErrorCode": _VIEW,
    "/formicary.v1.QueueService/GetQueues": _VIEW,
    "/formicary.v1.QueueService/PutQueues": _ADMIN,
    "/formicary.v1.QueueService/ValidateQueues": _VIEW,
    "/formicary.v1.TokenService/CreateToken": _ADMIN,
    "/formicary.v1.AuditService/ListAuditRecords": _ADMIN,
    "/formicary.v1.TokenService/ListTokens": _ADMIN,
    "/formicary.v1.TokenService/RevokeToken": _ADMIN,
}
"""Full name of a method -> roles that may call it. A method that is not named here may be called by nobody."""

HOME_ONLY = frozenset(
    {
        "/formicary.v1.AlertService/ListAlerts",
        "/formicary.v1.AntService/Session",
        "/formicary.v1.AntService/ListAnts",
        "/formicary.v1.ConfigService/RotateSecrets",
        "/formicary.v1.QueueService/GetQueues",
        "/formicary.v1.QueueService/PutQueues",
        "/formicary.v1.JobService/PurgeJobs",
    }
)
"""Methods that show or serve more than one organisation."""


def may_call(principal: Principal, method: str) -> bool:
    """Whether a caller may call a method."""
    if method in HOME_ONLY and principal.org != HOME:
        return False
    return not principal.roles.isdisjoint(ALLOWED.get(method, frozenset()))
