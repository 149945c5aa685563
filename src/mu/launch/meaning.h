/* Which of Lambda's answers to an Invoke may pass by themselves: one table. */
#ifndef MU_MEANING_H
#define MU_MEANING_H

typedef enum mu_meaning {
    MU_MEANING_PASSES, /* may pass: the same request is worth sending again */
    MU_MEANING_SETTLES, /* may pass, but takes seconds to minutes: it is sent again after longer waits */
    MU_MEANING_OWN, /* final for this invocation; others may well be accepted */
    MU_MEANING_FINAL, /* final for all invocations of this function in this region, which are all alike */
} mu_meaning;

/* What an answer other than success means. `type` is the error's name, "" if it has none; a name that is not in the
 * table counts as its status alone. */
mu_meaning mu_meaning_of(int status, const char *type);

/* The table's entries: the status and the name of number `i`; returns its meaning, or -1 behind the last. */
int mu_meaning_entry(int i, int *status, const char **type);

#endif
