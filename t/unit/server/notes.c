#include "child.h"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "server/operand.h"
#include "server/version.h"

/* The date of the probes of TEST_STANDIN, the stand-in server. */
#define STANDIN_DATE 20260620

/* A copy of the stand-in, which can be changed before it runs. */
struct server {
    char folder[64], path[96];
    uint8_t *bytes;
    size_t size;
    pid_t pid;
    struct process process;
    struct notes notes;
    struct error error;
};

static int run_server(const void *argument)
{
    const char *path = argument;

    execl(path, path, (char *)NULL);
    return 1;
}

static void server_open(struct server *server)
{
    FILE *file = fopen(TEST_STANDIN, "re");
    struct stat stat;

    *server = (struct server){.folder = "/tmp/h2olog-test.XXXXXX"};
    assert_non_null(mkdtemp(server->folder));
    snprintf(server->path, sizeof(server->path), "%s/server", server->folder);
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &stat), 0);
    server->size = (size_t)stat.st_size;
    server->bytes = memory_grow(NULL, server->size, 1);
    assert_int_equal(fread(server->bytes, 1, server->size, file), server->size);
    fclose(file);
}

static void write_file(const struct server *server)
{
    FILE *file = fopen(server->path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(server->bytes, 1, server->size, file), server->size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(server->path, 0700), 0);
}

/* Waits until the child runs a program with this path. */
static void wait_for_exec(pid_t pid, const char *path)
{
    char link[64], name[4096];

    snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
    for (int i = 0; i != 10000; ++i) {
        const ssize_t length = readlink(link, name, sizeof(name) - 1);
        name[length < 0 ? 0 : length] = '\0';
        if (strcmp(name, path) == 0)
            return;
        usleep(1000);
    }
    fail_msg("%s does not start", path);
}

/* Runs the file, and reads its notes. Returns what notes_read does. */
static int server_read(struct server *server)
{
    write_file(server);
    server->pid = child_start(run_server, server->path);
    wait_for_exec(server->pid, server->path);
    assert_int_equal(process_open(&server->process, server->pid, &server->error), 0);
    return notes_read(&server->notes, &server->process, &server->error);
}

static void server_close(struct server *server)
{
    notes_dispose(&server->notes);
    process_dispose(&server->process);
    child_end(server->pid);
    free(server->bytes);
    unlink(server->path);
    rmdir(server->folder);
}

/* Returns the header of a section of the file. */
static Elf64_Shdr *section(const struct server *server, const char *name)
{
    Elf64_Ehdr *elf = (Elf64_Ehdr *)server->bytes;
    Elf64_Shdr *sections = (Elf64_Shdr *)(server->bytes + elf->e_shoff);
    const char *names = (const char *)server->bytes + sections[elf->e_shstrndx].sh_offset;

    for (size_t i = 0; i != elf->e_shnum; ++i) {
        if (strcmp(names + sections[i].sh_name, name) == 0)
            return &sections[i];
    }
    fail_msg("there is no section %s", name);
    return NULL;
}

/* The parts of one note. They point into the file. */
struct raw_note {
    uint64_t *address, *base, *semaphore;
    char *provider, *probe, *arguments;
};

/* Finds the first note of a probe. */
static struct raw_note find_note(const struct server *server, const char *provider,
                                 const char *probe)
{
    const Elf64_Shdr *header = section(server, ".note.stapsdt");
    uint8_t *at = server->bytes + header->sh_offset, *end = at + header->sh_size;

    while (at < end) {
        const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;
        uint64_t *numbers = (uint64_t *)(at + sizeof(*note) + (note->n_namesz + 3) / 4 * 4);
        struct raw_note found = {numbers, numbers + 1, numbers + 2, (char *)(numbers + 3),
                                 NULL,    NULL};
        found.probe = found.provider + strlen(found.provider) + 1;
        found.arguments = found.probe + strlen(found.probe) + 1;
        if (strcmp(found.provider, provider) == 0 && strcmp(found.probe, probe) == 0)
            return found;
        at = (uint8_t *)numbers + (note->n_descsz + 3) / 4 * 4;
    }
    fail_msg("there is no note of %s:%s", provider, probe);
    return (struct raw_note){0};
}

static const struct probe *find_probe(const struct notes *notes, const char *provider,
                                      const char *name)
{
    for (size_t i = 0; i != notes->num_probes; ++i) {
        if (strcmp(notes->probes[i].provider, provider) == 0 &&
            strcmp(notes->probes[i].name, name) == 0)
            return &notes->probes[i];
    }
    return NULL;
}

/* Whether h2o had a signature on the date of the stand-in. */
static bool is_current(const struct signature *signature)
{
    return signature->since <= STANDIN_DATE &&
           (signature->until == 0 || signature->until > STANDIN_DATE);
}

static void reads_every_probe(void **state)
{
    struct server server;
    size_t count = 0;

    (void)state;
    server_open(&server);
    if (server_read(&server) != 0)
        fail_msg("%s", server.error.text);
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        const struct probe *probe =
            find_probe(&server.notes, signature->provider, signature->probe);
        if (!is_current(signature))
            continue;
        ++count;
        if (probe == NULL)
            fail_msg("%s:%s is missing", signature->provider, signature->probe);
        assert_true(probe->num_locations != 0);
        for (size_t j = 0; j != probe->num_locations; ++j) {
            const struct location *location = &probe->locations[j];
            assert_int_equal(location->flaw, LOCATION_SOUND);
            assert_int_equal(location->module, 0);
            assert_true(location->offset != 0 && location->offset < server.size);
            assert_true(location->semaphore_offset != 0 &&
                        location->semaphore_offset < server.size);
            assert_int_equal(operand_count(operand_native(), location->arguments),
                             signature->num_arguments);
        }
    }
    assert_int_equal(server.notes.num_probes, count);
    assert_true(server.notes.modules[0].has_probes);
    server_close(&server);
}

/* What is read is what runs, even if the file on disk is another one by now. */
static void reads_the_file_that_runs(void **state)
{
    struct server server;
    struct stat on_disk, opened;
    int fd;

    (void)state;
    server_open(&server);
    write_file(&server);
    server.pid = child_start(run_server, server.path);
    wait_for_exec(server.pid, server.path);
    unlink(server.path);
    fd = open(server.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
    close(fd);
    assert_int_equal(process_open(&server.process, server.pid, &server.error), 0);
    if (notes_read(&server.notes, &server.process, &server.error) != 0)
        fail_msg("%s", server.error.text);
    assert_non_null(find_probe(&server.notes, "h2o", "receive_request"));
    assert_int_equal(stat(server.path, &on_disk), 0);
    assert_int_equal(stat(server.notes.modules[0].path, &opened), 0); /* /proc/self/fd/N */
    assert_true(on_disk.st_ino != opened.st_ino);
    assert_int_equal(opened.st_size, server.size);
    notes_close_files(&server.notes);
    assert_int_equal(server.notes.modules[0].fd, -1);
    assert_non_null(find_probe(&server.notes, "h2o", "receive_request"));
    server_close(&server);
}

static void locations_can_be_wrong(void **state)
{
    struct server server;
    const struct probe *probe;

    (void)state;
    server_open(&server);
    *find_note(&server, "quicly", "pto").address = 0x7fff0000;
    *find_note(&server, "quicly", "free").semaphore += 1; /* not aligned */
    *find_note(&server, "quicly", "accept").semaphore = 0;
    if (server_read(&server) != 0)
        fail_msg("%s", server.error.text);
    probe = find_probe(&server.notes, "quicly", "pto");
    assert_int_equal(probe->locations[0].flaw, LOCATION_NOT_CODE);
    assert_true(probe->locations[0].offset == 0x7fff0000);
    probe = find_probe(&server.notes, "quicly", "free");
    assert_int_equal(probe->locations[0].flaw, LOCATION_NO_SEMAPHORE);
    probe = find_probe(&server.notes, "quicly", "accept");
    assert_int_equal(probe->locations[0].flaw, LOCATION_SOUND);
    assert_true(probe->locations[0].semaphore_offset == 0);
    server_close(&server);
}

/* Names that are not identifiers, and other providers, are ignored. */
static void names_can_be_anything(void **state)
{
    struct server server;
    struct raw_note note;

    (void)state;
    server_open(&server);
    note = find_note(&server, "quicly", "pto");
    memcpy(note.probe, "p;o", 3);
    note = find_note(&server, "quicly", "free");
    memcpy(note.provider, "quickl", 6);
    note = find_note(&server, "quicly", "accept");
    memcpy(note.arguments, "\x1b[2J", 4);
    if (server_read(&server) != 0)
        fail_msg("%s", server.error.text);
    assert_null(find_probe(&server.notes, "quicly", "pto"));
    assert_null(find_probe(&server.notes, "quicly", "p;o"));
    assert_null(find_probe(&server.notes, "quickl", "free"));
    assert_null(find_probe(&server.notes, "quicly", "free"));
    assert_non_null(find_probe(&server.notes, "quicly", "accept"));
    server_close(&server);
}

/* Checks the message for a server without usable notes. `format` gets its PID. */
static void check_refused(struct server *server, const char *format)
{
    char expected[512];

    assert_int_equal(server_read(server), -1);
    snprintf(expected, sizeof(expected), "PID %d (server) %s", (int)server->pid, format);
    assert_int_equal(server->error.status, ERROR_FAILED);
    check_string("error", server->error.text, expected);
    server_close(server);
}

static void notes_can_be_stripped(void **state)
{
    struct server server;

    (void)state;
    server_open(&server);
    section(&server, ".note.stapsdt")->sh_name = 0;
    check_refused(&server, "had probes, but their notes (.note.stapsdt) were stripped from its "
                           "binary; strip it with --keep-section=.note.stapsdt");

    server_open(&server);
    ((Elf64_Ehdr *)server.bytes)->e_shoff = 0;
    ((Elf64_Ehdr *)server.bytes)->e_shnum = 0;
    ((Elf64_Ehdr *)server.bytes)->e_shstrndx = 0;
    check_refused(&server, "has no h2o probes that can be found: the section headers of its binary "
                           "were stripped; strip it without --strip-sections");
}

static int sleep_long(const void *argument)
{
    (void)argument;
    execl("/bin/sleep", "sleep", "600", (char *)NULL);
    return 1;
}

static void other_programs_have_no_probes(void **state)
{
    const pid_t pid = child_start(sleep_long, NULL);
    char *path = realpath("/bin/sleep", NULL), *expected;
    struct process process;
    struct notes notes;
    struct error error = {0};

    (void)state;
    wait_for_exec(pid, path);
    assert_int_equal(process_open(&process, pid, &error), 0);
    assert_int_equal(notes_read(&notes, &process, &error), -1);
    expected = memory_format("PID %d (%s) has no h2o probes; h2o needs -DWITH_DTRACE=on", (int)pid,
                             process.name);
    check_string("error", error.text, expected);
    assert_int_equal(notes.num_probes, 0);
    notes_dispose(&notes);
    process_dispose(&process);
    child_end(pid);
    free(path);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_probe),      cmocka_unit_test(reads_the_file_that_runs),
        cmocka_unit_test(locations_can_be_wrong), cmocka_unit_test(names_can_be_anything),
        cmocka_unit_test(notes_can_be_stripped),  cmocka_unit_test(other_programs_have_no_probes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
