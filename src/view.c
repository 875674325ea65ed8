#include "view.h"

#include <string.h>

#include "print/json.h"
#include "print/requests.h"
#include "print/requests_json.h"
#include "print/text.h"
#include "server/version.h"

const struct view views[] = {
#define VIEW(name, help, ...) {name, help, __VA_ARGS__},
#include "views.def"
#undef VIEW
};

const size_t num_views = sizeof(views) / sizeof(views[0]);

const struct view *view_find(const char *name)
{
    if (name == NULL)
        return &views[0];
    for (size_t i = 0; i != num_views; ++i) {
        if (strcmp(views[i].name, name) == 0)
            return &views[i];
    }
    return NULL;
}

bool view_traces(const struct view *view, const char *provider, const char *probe)
{
    return version_matches_any(view->probes, provider, probe) &&
           !version_matches_any(view->except, provider, probe);
}
