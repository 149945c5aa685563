/* The requests: the lists and the heap that hold them, and their state, which only mu_set_state() changes. */
#include "internal.h"

#include <stdlib.h>

static void fifo_push(mu_launch *l, fifo *list, uint32_t index)
{
    l->requests[index].next = NO_REQUEST;
    if (list->last == NO_REQUEST)
        list->first = index;
    else
        l->requests[list->last].next = index;
    list->last = index;
}

static void fifo_push_front(mu_launch *l, fifo *list, uint32_t index)
{
    l->requests[index].next = list->first;
    list->first = index;
    if (list->last == NO_REQUEST)
        list->last = index;
}

uint32_t mu_fifo_pop(mu_launch *l, fifo *list)
{
    uint32_t index = list->first;
    if (index == NO_REQUEST)
        return index;
    list->first = l->requests[index].next;
    if (list->first == NO_REQUEST)
        list->last = NO_REQUEST;
    return index;
}

/* Moves the request at `at` of the heap's first `size` places down to its place. */
static void heap_down(mu_launch *l, size_t at, size_t size)
{
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && l->requests[l->heap[child + 1]].due_ms < l->requests[l->heap[child]].due_ms)
            child++;
        if (l->requests[l->heap[at]].due_ms <= l->requests[l->heap[child]].due_ms)
            return;
        uint32_t other = l->heap[at];
        l->heap[at] = l->heap[child];
        l->heap[child] = other;
    }
}

static void heap_push(mu_launch *l, uint32_t index)
{
    size_t at = (size_t)l->progress.waiting;
    while (at > 0 && l->requests[l->heap[(at - 1) / 2]].due_ms > l->requests[index].due_ms) {
        l->heap[at] = l->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    l->heap[at] = index;
}

static int64_t *count_of(mu_launch *l, unsigned state)
{
    int64_t *counts[] = {&l->progress.queued,   &l->progress.sent,   &l->progress.waiting,
                         &l->progress.accepted, &l->progress.failed, &l->progress.cancelled};
    return counts[state];
}

/* Stores a request's error; NULL: none. */
static void set_error(request *r, const char *prefix, const char *error)
{
    char *text = error == NULL ? NULL : mu_join(prefix, error);
    free(r->error);
    r->error = text;
    r->error_lost = error != NULL && text == NULL;
}

int mu_counted(const request *r)
{
    return r->attempts - r->uncounted;
}

void mu_set_state(mu_launch *l, uint32_t index, mu_launch_state state, const char *error)
{
    request *r = &l->requests[index];
    --*count_of(l, r->state);
    r->state = (unsigned char)state;
    switch (state) {
    case MU_LAUNCH_QUEUED:
        if (r->attempts == 0)
            fifo_push(l, &l->targets[r->target]->queue, index);
        else
            fifo_push_front(l, &l->targets[r->target]->queue, index);
        break;
    case MU_LAUNCH_SENT:
        l->progress.attempts++;
        if (r->attempts++ == 0)
            r->started = mu_now();
        else
            l->progress.retries++;
        break;
    case MU_LAUNCH_WAITING:
        set_error(r, "", error);
        heap_push(l, index);
        break;
    case MU_LAUNCH_ACCEPTED:
    case MU_LAUNCH_FAILED:
    case MU_LAUNCH_CANCELLED:
        if (r->attempts > 0)
            r->seconds = mu_now() - r->started;
        if (state != MU_LAUNCH_CANCELLED)
            set_error(r, "", error);
        else if (r->error != NULL)
            set_error(r, CANCELLED "; the last attempt: ", r->error);
        fifo_push(l, &l->done, index);
        break;
    }
    ++*count_of(l, state);
}

void mu_wake_due(mu_launch *l, int64_t now_ms)
{
    while (l->progress.waiting > 0 && l->requests[l->heap[0]].due_ms <= now_ms) {
        uint32_t index = l->heap[0];
        size_t left = (size_t)l->progress.waiting - 1;
        l->heap[0] = l->heap[left];
        heap_down(l, 0, left);
        mu_set_state(l, index, MU_LAUNCH_QUEUED, NULL);
    }
}

void mu_end_waiting(mu_launch *l, const target *t, mu_launch_state state, const char *error)
{
    size_t size = (size_t)l->progress.waiting;
    size_t kept = 0;
    for (size_t i = 0; i < size; i++) {
        uint32_t index = l->heap[i];
        if (t == NULL || l->requests[index].target == t->index)
            mu_set_state(l, index, state, error);
        else
            l->heap[kept++] = index;
    }
    for (size_t i = kept / 2; i-- > 0;)
        heap_down(l, i, kept);
}

void mu_end_queued(mu_launch *l, target *t, mu_launch_state state, const char *error)
{
    uint32_t index;
    while ((index = mu_fifo_pop(l, &t->queue)) != NO_REQUEST)
        mu_set_state(l, index, state, error);
}

void mu_stop_target(mu_launch *l, target *t, const char *error)
{
    if (t->stopped != NULL)
        return;
    t->stopped = mu_join("", error); /* if that fails, the next request meets the same error again */
    mu_end_queued(l, t, MU_LAUNCH_FAILED, error);
    mu_end_waiting(l, t, MU_LAUNCH_FAILED, error);
}
