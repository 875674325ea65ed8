#include "event/query.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "query_tree.h"

/* The depth of the recursion is limited by QUERY_DEPTH_MAX. */
static bool holds(const struct query_evaluation *subject, struct query_node *node)
{
    struct query_node *child = node->children;

    switch (node->kind) {
    case NODE_NOT:
        return !holds(subject, child);
    case NODE_AND:
        while (child != NULL && holds(subject, child))
            child = child->next;
        return child == NULL;
    case NODE_OR:
        while (child != NULL && !holds(subject, child))
            child = child->next;
        return child != NULL;
    default:
        return (subject->request != NULL ? query_compare_request : query_compare_record)(
                   subject, &node->comparison) == OUTCOME_HOLDS;
    }
}

bool query_holds_for_request(struct query *query, const struct request *request,
                             const struct clock *clock)
{
    const struct query_evaluation subject = {query, request, NULL, clock};

    return holds(&subject, query->tree);
}

bool query_holds_for_record(struct query *query, const struct record *record,
                            const struct clock *clock)
{
    const struct query_evaluation subject = {query, NULL, record, clock};

    return holds(&subject, query->tree);
}

static void add_needs(const struct query_node *node, struct needs *needs)
{
    const struct query_comparison *comparison = &node->comparison;

    for (const struct query_node *child = node->children; child != NULL; child = child->next)
        add_needs(child, needs);
    switch (comparison->subject.name) {
    case NAME_HEADER:
        needs_add(comparison->side == REQUEST_SIDE ? &needs->request : &needs->response,
                  comparison->key);
        break;
    case NAME_PSEUDO:
        needs_add(&needs->request, comparison->subject.header);
        break;
    case NAME_TIME:
    case NAME_TTFB:
    case NAME_DURATION:
        needs->times = true;
        break;
    case NAME_CONNECTION:
        needs->connections = true;
        break;
    case NAME_TRUNCATED:
        needs->request.all = needs->response.all = true;
        break;
    case NAME_FIELD:
        needs->times |= strcmp(comparison->key, "time") == 0;
        break;
    default:
        break;
    }
}

void query_add_needs(const struct query *query, struct needs *needs)
{
    add_needs(query->tree, needs);
}

void query_set_files(struct query *query, const struct address_range *files, size_t num_files)
{
    query->files = files;
    query->num_files = num_files;
}

uint64_t query_num_given_up(const struct query *query)
{
    return query->num_given_up;
}

struct query *query_open(const char *text, enum query_subject subject, struct error *error)
{
    struct query *query = memory_grow(NULL, 1, sizeof(*query));

    memset(query, 0, sizeof(*query));
    if (query_parse(query, text, subject, error) == 0)
        return query;
    query_close(query);
    return NULL;
}

void query_close(struct query *query)
{
    if (query == NULL)
        return;
    query_free_tree(query->tree);
    query_matcher_close(query->matcher);
    free(query);
}
