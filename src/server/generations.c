#include "server/generations.h"

#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The supervisor is a Perl script: its first arguments are the interpreter and its options. */
bool generations_is_supervisor(pid_t pid)
{
    size_t size = 0;
    char *command = proc_read(pid, "cmdline", &size);
    bool found = false;

    if (proc_is_h2o(pid)) /* the argument may be the name of a configuration file */
        size = 0;
    for (size_t at = 0; at < size && !found; at += strlen(command + at) + 1) {
        const char *slash = strrchr(command + at, '/');
        found = strcmp(slash != NULL ? slash + 1 : command + at, "start_server") == 0;
    }
    free(command);
    return found;
}

unsigned long generations_number(pid_t pid)
{
    char *text = proc_variable(pid, "SERVER_STARTER_GENERATION"), *end;
    unsigned long number = 0;

    if (text != NULL && isdigit((unsigned char)text[0])) {
        number = strtoul(text, &end, 10);
        number = *end == '\0' ? number : 0;
    }
    free(text);
    return number;
}

void generations_open(struct generations *generations, pid_t pid)
{
    const pid_t parent = proc_parent(pid);
    struct pids *older = &generations->older;

    *generations = (struct generations){.pid = pid, .supervisor = -1, .children = -1};
    if (!generations_is_supervisor(parent))
        return;
    generations->children = proc_open_children(parent);
    generations->supervisor = proc_open_pidfd(parent);
    *older = proc_read_children(generations->children);
    for (size_t i = 0; i != older->count; ++i) {
        if (older->ids[i] == pid) {
            older->count = i;
            break;
        }
    }
}

static bool is_older(const struct generations *generations, pid_t pid)
{
    for (size_t i = 0; i != generations->older.count; ++i) {
        if (generations->older.ids[i] == pid)
            return true;
    }
    return false;
}

pid_t generations_find_newer(const struct generations *generations)
{
    struct pids children = proc_read_children(generations->children);
    pid_t newest = 0;

    for (size_t i = 0; i != children.count; ++i) {
        if (children.ids[i] != generations->pid)
            newest = children.ids[i];
    }
    free(children.ids);
    return is_older(generations, newest) ? 0 : newest;
}

/* A supervisor starts a new server at once after a crash. */
#define SUCCESSOR_ROUNDS   25
#define SUCCESSOR_ROUND_MS 20

pid_t generations_find_successor(const struct generations *generations)
{
    struct pollfd supervisor = {.fd = generations->supervisor, .events = POLLIN};
    pid_t successor = 0;

    for (int i = 0; generations->children >= 0 && i != SUCCESSOR_ROUNDS; ++i) {
        successor = generations_find_newer(generations);
        if (successor != 0 || poll(&supervisor, 1, SUCCESSOR_ROUND_MS) > 0)
            break;
    }
    return successor;
}

void generations_close(struct generations *generations)
{
    free(generations->older.ids);
    if (generations->supervisor >= 0)
        close(generations->supervisor);
    if (generations->children >= 0)
        close(generations->children);
}
