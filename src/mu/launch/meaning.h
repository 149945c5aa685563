/* Which of Lambda's errors of an Invoke may pass by themselves, in one table. */
#ifndef MU_MEANING_H
#define MU_MEANING_H

typedef enum mu_meaning {
    MU_MEANING_PASSES, /* may pass: the same request is sent again */
    MU_MEANING_SETTLES, /* may pass within seconds to minutes: it is sent again after longer waits */
    MU_MEANING_OWN, /* final for this invocation; others may be accepted */
    MU_MEANING_FINAL, /* final for all invocations of this function in this region, which are all alike */
} mu_meaning;

/* Returns the meaning of an answer other than success. `type` is the error's name, "" if it has none; for a name that
 * is not in the table, only the status counts. */
mu_meaning mu_meaning_of(int status, const char *type);

/* Returns the meaning of entry `i` of the table, with its status and name; -1 after the last. */
int mu_meaning_entry(int i, int *status, const char **type);

#endif
