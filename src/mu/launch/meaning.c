/* A table of the errors that AWS's API reference lists for Invoke
 * (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors), as in botocore's model of the
 * service in version 1.44.8, with the reference's statement about each. TooManyRequestsException has the same meaning
 * for every Reason. Where the reference says that settings must be changed, the error is final; denied permissions
 * are not final, because IAM applies a change of them only seconds later.
 */
#include "meaning.h"

#include <stddef.h>
#include <string.h>

#define PASSES MU_MEANING_PASSES
#define SETTLES MU_MEANING_SETTLES
#define OWN MU_MEANING_OWN
#define FINAL MU_MEANING_FINAL

static const struct {
    int status;
    const char *type;
    mu_meaning meaning;
} table[] = {
    /* The service, or this account's share of it, is busy. */
    {429, "TooManyRequestsException", PASSES},
    {500, "ServiceException", PASSES},
    {502, "EC2ThrottledException", PASSES},
    {502, "EC2UnexpectedException", PASSES},
    /* The function is being prepared: it is new, has been idle for long (Inactive), or is being updated. */
    {409, "ResourceConflictException", SETTLES},
    {409, "CodeArtifactUserPendingException", SETTLES},
    {409, "CodeArtifactUserDeletedException", SETTLES},
    {409, "SnapStartNotReadyException", SETTLES},
    {409, "SnapStartRegenerationFailureException", SETTLES},
    {408, "SnapStartTimeoutException", PASSES},
    {502, "ResourceNotReadyException", SETTLES},
    {502, "ENINotReadyException", SETTLES},
    /* Something that it needs is not available at present. */
    {502, "ENILimitReachedException", SETTLES},
    {502, "SubnetIPAddressLimitReachedException", SETTLES},
    {502, "KMSInvalidStateException", SETTLES},
    {408, "EFSMountConnectivityException", PASSES},
    {408, "EFSMountTimeoutException", PASSES},
    {410, "EFSIOException", PASSES},
    {408, "S3FilesMountConnectivityException", PASSES},
    {408, "S3FilesMountTimeoutException", PASSES},
    /* Permissions may have been granted only now. */
    {502, "EC2AccessDeniedException", SETTLES},
    {502, "KMSAccessDeniedException", SETTLES},
    /* The function's settings are wrong. */
    {403, "EFSMountFailureException", FINAL},
    {403, "S3FilesMountFailureException", FINAL},
    {409, "CodeArtifactUserFailedException", FINAL},
    {409, "RuntimeAliasDeletedException", FINAL},
    {409, "RuntimeVersionDeletedException", FINAL},
    {502, "InvalidRuntimeException", FINAL},
    {502, "InvalidSecurityGroupIDException", FINAL},
    {502, "InvalidSubnetIDException", FINAL},
    {502, "InvalidZipFileException", FINAL},
    {502, "KMSDisabledException", FINAL},
    {502, "KMSNotFoundException", FINAL},
    {400, "SnapStartException", FINAL},
    {400, "NoPublishedVersionException", FINAL},
    {400, "ModeNotSupportedException", FINAL},
    /* The request is wrong, and all requests are alike. */
    {400, "InvalidParameterValueException", FINAL},
    {400, "InvalidRequestContentException", FINAL},
    {400, "RecursiveInvocationException", FINAL},
    {402, "ServiceQuotaExceededException", FINAL},
    {404, "ResourceNotFoundException", FINAL},
    {413, "RequestTooLargeException", FINAL},
    {413, "SerializedRequestEntityTooLargeException", FINAL},
    {415, "UnsupportedMediaTypeException", FINAL},
    {409, "DurableExecutionAlreadyStartedException", OWN},
};

enum { ENTRIES = sizeof table / sizeof *table };

mu_meaning mu_meaning_of(int status, const char *type)
{
    for (int i = 0; i < ENTRIES; i++)
        if (table[i].status == status && strcmp(table[i].type, type) == 0)
            return table[i].meaning;
    switch (status) {
    case 400:
    case 403:
    case 404:
    case 413:
        return FINAL;
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return PASSES;
    default:
        return OWN;
    }
}

int mu_meaning_entry(int i, int *status, const char **type)
{
    if (i < 0 || i >= ENTRIES)
        return -1;
    *status = table[i].status;
    *type = table[i].type;
    return (int)table[i].meaning;
}
