#include "support.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "print/access_log.h"

void check_string_at(const char *what, const char *got, const char *expected, const char *file,
                     int line)
{
    if (strcmp(got, expected) == 0)
        return;
    print_error("%s\n  is       %s\n  expected %s\n", what, got, expected);
    _fail(file, line);
}

char *data_read(const char *name)
{
    char *path = memory_format("%s/%s", TEST_DATA, name), *text = NULL;
    size_t used = 0, got;
    FILE *file = fopen(path, "r");

    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    do {
        text = memory_grow(text, used + 65536 + 1, 1);
        got = fread(text + used, 1, 65536, file);
        used += got;
    } while (got != 0);
    text[used] = '\0';
    fclose(file);
    free(path);
    return text;
}

size_t data_row(char **rest, char **columns, size_t max)
{
    char *row;

    while ((row = strsep(rest, "\n")) != NULL) {
        size_t count = 0;
        if (row[0] == '\0' || row[0] == '#')
            continue;
        while (count != max && row != NULL)
            columns[count++] = strsep(&row, "\t");
        return count;
    }
    return 0;
}

size_t data_hex(const char *digits, uint8_t *bytes, size_t max)
{
    size_t size = strlen(digits) / 2;

    assert_true(size <= max);
    for (size_t i = 0; i != size; ++i) {
        unsigned byte;
        assert_int_equal(sscanf(digits + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    return size;
}

void notes_open(struct notes *notes, const char *name)
{
    char *text, *rest, *columns[5];

    *notes = (struct notes){0};
    if (name == NULL)
        return;
    text = rest = data_read(name);
    while (data_row(&rest, columns, 5) != 0)
        notes_add(notes, columns[0], columns[1], columns[4]);
    free(text);
    assert_true(notes->num_probes > 70); /* the smallest file has 74 */
}

static struct probe *find_probe(const struct notes *notes, const char *provider, const char *name)
{
    for (size_t i = 0; i != notes->num_probes; ++i) {
        if (strcmp(notes->probes[i].provider, provider) == 0 &&
            strcmp(notes->probes[i].name, name) == 0)
            return &notes->probes[i];
    }
    return NULL;
}

void notes_add(struct notes *notes, const char *provider, const char *name, const char *arguments)
{
    struct probe *probe = find_probe(notes, provider, name);

    if (probe == NULL) {
        notes->probes = memory_grow(notes->probes, notes->num_probes + 1, sizeof(notes->probes[0]));
        probe = &notes->probes[notes->num_probes++];
        *probe = (struct probe){.provider = memory_format("%s", provider),
                                .name = memory_format("%s", name)};
    }
    probe->locations =
        memory_grow(probe->locations, probe->num_locations + 1, sizeof(probe->locations[0]));
    probe->locations[probe->num_locations] = (struct location){
        .offset = 0x1000 * notes->num_probes + probe->num_locations,
        .arguments = memory_format("%s", arguments),
    };
    ++probe->num_locations;
}

/* Makes operands for a declaration, with every argument in a register. */
static char *make_operands(const struct signature *signature)
{
    char *operands = memory_format("%s", "");

    for (size_t i = 0; i != signature->num_arguments; ++i) {
        const struct argument *argument = &signature->arguments[i];
        char *longer = memory_format("%s%s%s%u@%s", operands, i != 0 ? " " : "",
                                     argument->is_signed ? "-" : "", argument->width,
                                     argument->width == 8   ? "%rax"
                                     : argument->width == 4 ? "%eax"
                                     : argument->width == 2 ? "%ax"
                                                            : "%al");
        free(operands);
        operands = longer;
    }
    return operands;
}

void notes_add_signature(struct notes *notes, const struct signature *signature)
{
    char *operands = make_operands(signature);

    notes_add(notes, signature->provider, signature->probe, operands);
    free(operands);
}

static void free_probe(struct probe *probe)
{
    for (size_t i = 0; i != probe->num_locations; ++i)
        free(probe->locations[i].arguments);
    free(probe->locations);
    free(probe->provider);
    free(probe->name);
}

void notes_remove(struct notes *notes, const char *provider, const char *name)
{
    struct probe *probe = find_probe(notes, provider, name);

    assert_non_null(probe);
    free_probe(probe);
    memmove(probe, probe + 1,
            (size_t)(notes->probes + notes->num_probes - (probe + 1)) * sizeof(*probe));
    --notes->num_probes;
}

void notes_close(struct notes *notes)
{
    for (size_t i = 0; i != notes->num_probes; ++i)
        free_probe(&notes->probes[i]);
    free(notes->probes);
}

void printed_open(struct output *output)
{
    const struct caller nobody = {0, 0};
    int fd = memfd_create("printed", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_null(output_open(output, NULL, &nobody, -1));
    if (output->fd > STDERR_FILENO)
        close(output->fd);
    output->fd = fd;
}

char *printed_take(struct output *output)
{
    struct stat stat;
    char *text;

    assert_int_equal(output_flush(output), 0);
    assert_int_equal(fstat(output->fd, &stat), 0);
    text = memory_grow(NULL, (size_t)stat.st_size + 1, 1);
    assert_int_equal(pread(output->fd, text, (size_t)stat.st_size, 0), stat.st_size);
    text[stat.st_size] = '\0';
    assert_int_equal(strlen(text), stat.st_size); /* there is no NUL in the output */
    assert_int_equal(ftruncate(output->fd, 0), 0);
    assert_int_equal(lseek(output->fd, 0, SEEK_SET), 0);
    return text;
}

void printed_close(struct output *output)
{
    output_close(output);
}

static void open_requests(struct request_printer *printer,
                          struct sink (*open)(const struct sink_settings *),
                          struct access_log *access_log)
{
    *printer = (struct request_printer){
        .clock = {.now_ns = REQUEST_CLOCK_NS,
                  .wall_ns = (int64_t)(REQUEST_WALL_NS - REQUEST_CLOCK_NS)},
        .settings = {.output = &printer->output,
                     .clock = &printer->clock,
                     .access_log = access_log},
    };
    printed_open(&printer->output);
    printer->sink = open(&printer->settings);
    request_printer_restart(printer);
}

void request_printer_open(struct request_printer *printer,
                          struct sink (*open)(const struct sink_settings *))
{
    open_requests(printer, open, NULL);
}

void request_printer_open_format(struct request_printer *printer, const char *format)
{
    struct error error = {0};
    struct access_log *access_log = access_log_compile(format, &error);

    if (access_log == NULL)
        fail_msg("'%s' is refused: %s", format, error.text);
    open_requests(printer, access_log_open, access_log);
}

void request_printer_restart(struct request_printer *printer)
{
    request_dispose(&printer->request);
    printer->request = (struct request){
        .conn = 1292,
        .req = 39,
        .received_ns = REQUEST_CLOCK_NS + 120318000,
        .responded_ns = REQUEST_CLOCK_NS + 120318000 + 501200000,
        .version = 0x200,
        .status = 200,
    };
}

void request_printer_bytes(struct request_printer *printer, enum request_side side,
                           const char *name, const void *bytes, size_t size, uint64_t full_size)
{
    struct value key = {0}, value = {0};

    key.bytes = (const uint8_t *)name;
    key.size = key.full_size = strlen(name);
    value.bytes = bytes;
    value.size = size;
    value.full_size = full_size;
    request_add_header(&printer->request, side, &key, &value);
}

void request_printer_header(struct request_printer *printer, enum request_side side,
                            const char *name, const char *value)
{
    request_printer_bytes(printer, side, name, value, strlen(value), strlen(value));
}

void request_printer_pseudo(struct request_printer *printer, const char *path)
{
    request_printer_header(printer, REQUEST_SIDE, ":authority", "example.com");
    request_printer_header(printer, REQUEST_SIDE, ":method", "GET");
    request_printer_header(printer, REQUEST_SIDE, ":path", path);
    request_printer_header(printer, REQUEST_SIDE, ":scheme", "https");
}

char *request_printer_take(struct request_printer *printer)
{
    printer->sink.request(printer->sink.state, &printer->request);
    return printed_take(&printer->output);
}

void request_printer_check_at(struct request_printer *printer, const char *expected,
                              const char *file, int line)
{
    char *text = request_printer_take(printer);

    check_string_at("the request", text, expected, file, line);
    free(text);
}

void request_printer_close(struct request_printer *printer)
{
    printer->sink.close(printer->sink.state);
    request_dispose(&printer->request);
    printed_close(&printer->output);
    access_log_close((struct access_log *)printer->settings.access_log);
}

/* Returns the code point at `text` and its length, -1 if it is not valid. */
static long code_point(const char *text, size_t *length)
{
    static const struct {
        unsigned char mask, lead;
        long first; /* below: overlong */
    } forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    const unsigned char *bytes = (const unsigned char *)text;

    for (size_t i = 0; i != 4; ++i) {
        long code = bytes[0] & ~forms[i].mask;
        if ((bytes[0] & forms[i].mask) != forms[i].lead)
            continue;
        *length = i + 1;
        for (size_t j = 1; j <= i; ++j) {
            if (bytes[j] >> 6 != 2)
                return -1;
            code = code << 6 | (bytes[j] & 0x3f);
        }
        return code < forms[i].first || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? -1
                                                                                             : code;
    }
    return -1;
}

uint32_t random_seed(void)
{
    const char *given = getenv("H2OLOG_SEED");
    const uint32_t seed = given != NULL ? (uint32_t)strtoul(given, NULL, 10) : 1;

    print_message("random numbers: H2OLOG_SEED=%u\n", seed);
    return seed;
}

uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223; /* the generator of Numerical Recipes */
    return *seed >> 16;
}

size_t random_bytes(uint32_t *seed, uint8_t *bytes, size_t max)
{
    static const uint8_t tricky[] =
        "\0\n\r\t\x1b\x7f \"\\'-[]{},:/?%ab0\x80\x9b\xa0\xc2\xc3\xe2\xed"
        "\xf0\xf4\xff";
    const size_t size = random_next(seed) % max;

    for (size_t i = 0; i != size; ++i)
        bytes[i] = random_next(seed) % 8 == 0 ? (uint8_t)random_next(seed)
                                              : tricky[random_next(seed) % (sizeof(tricky) - 1)];
    return size;
}

static void add_random(struct request_printer *printer, enum request_side side, const char *name,
                       uint32_t *seed)
{
    uint8_t bytes[200];
    const size_t size = random_bytes(seed, bytes, sizeof(bytes));
    const uint64_t full_size = size + (random_next(seed) % 8 == 0 ? random_next(seed) : 0);

    request_printer_bytes(printer, side, name, random_next(seed) % 16 == 0 ? NULL : bytes, size,
                          full_size);
}

void request_printer_random(struct request_printer *printer, uint32_t *seed)
{
    static const char *const requests[] = {":authority", ":method", ":path",      ":scheme",
                                           "cookie",     "referer", "user-agent", ":other"};
    static const char *const responses[] = {"content-type", "set-cookie", "set-cookie", ":status"};
    struct request *request = &printer->request;
    uint8_t name[100];

    request_printer_restart(printer);
    request->state = (enum request_state)(random_next(seed) % 4);
    request->status = random_next(seed) % 4 == 0 ? 0 : (int32_t)(random_next(seed) % 600);
    request->version = random_next(seed) % 4 == 0 ? 0 : (int32_t)(random_next(seed) % 4) * 256 + 1;
    if (random_next(seed) % 4 == 0)
        request->received_ns = 0;
    if (random_next(seed) % 4 == 0)
        request->responded_ns = 0;
    request->has_bytes = random_next(seed) % 2 == 0;
    request->bytes = random_next(seed);
    request->connection = random_next(seed) % 3;
    for (size_t i = 0; i != sizeof(requests) / sizeof(requests[0]); ++i) {
        if (random_next(seed) % 8 != 0)
            add_random(printer, REQUEST_SIDE, requests[i], seed);
    }
    for (size_t i = 0; i != sizeof(responses) / sizeof(responses[0]); ++i)
        add_random(printer, RESPONSE_SIDE, responses[i], seed);
    for (size_t i = 0; i != 2; ++i) {
        struct value value = {0};
        value.bytes = name;
        value.size = value.full_size = random_bytes(seed, name, sizeof(name));
        request_add_header(request, (enum request_side)i, &value, &value);
    }
}

bool is_utf8(const char *text)
{
    size_t length;

    for (; *text != '\0'; text += length) {
        if (code_point(text, &length) < 0)
            return false;
    }
    return true;
}

bool is_tame(const char *text, bool may_have_lines)
{
    size_t length;

    for (; *text != '\0'; text += length) {
        long code = code_point(text, &length);
        if (code < 0 || (code >= 0x7f && code < 0xa0) ||
            (code < 0x20 && code != '\t' && !(code == '\n' && may_have_lines)))
            return false;
    }
    return true;
}

const struct signature *signature_on(const char *full_name, uint32_t date)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        size_t length = strlen(signature->provider);
        if (strncmp(full_name, signature->provider, length) == 0 && full_name[length] == ':' &&
            strcmp(full_name + length + 1, signature->probe) == 0 && signature->since <= date &&
            (signature->until == 0 || date < signature->until))
            return signature;
    }
    fail_msg("there was no %s on %u", full_name, date);
    return NULL;
}

void draft_open(struct draft *draft, const struct signature *signature, uint16_t id)
{
    const struct event_head head = {.id = id};

    *draft = (struct draft){.signature = signature, .size = signature->size};
    memcpy(draft->bytes, &head, sizeof(head));
}

void draft_head(struct draft *draft, uint16_t flags, uint32_t conn)
{
    memcpy(draft->bytes + offsetof(struct event_head, flags), &flags, sizeof(flags));
    memcpy(draft->bytes + offsetof(struct event_head, conn), &conn, sizeof(conn));
}

void draft_connection(struct draft *draft, uint64_t address)
{
    memcpy(draft->bytes + offsetof(struct event_head, connection), &address, sizeof(address));
}

const struct field *draft_field(const struct draft *draft, const char *key)
{
    for (size_t i = 0; i != draft->signature->num_fields; ++i) {
        if (strcmp(draft->signature->fields[i].key, key) == 0)
            return &draft->signature->fields[i];
    }
    fail_msg("%s has no field %s", draft->signature->declaration, key);
    return NULL;
}

static void put_number(struct draft *draft, size_t place, size_t width, uint64_t value)
{
    /* its lowest bytes, in native byte order */
    const uint8_t value8 = (uint8_t)value;
    const uint16_t value16 = (uint16_t)value;
    const uint32_t value32 = (uint32_t)value;

    memcpy(draft->bytes + place,
           width == 1   ? (const void *)&value8
           : width == 2 ? (const void *)&value16
           : width == 4 ? (const void *)&value32
                        : (const void *)&value,
           width);
}

void draft_number(struct draft *draft, const char *key, uint64_t value)
{
    const struct field *field = draft_field(draft, key);

    assert_true(field->counter_width == 0 && field->kind != FIELD_ADDRESS);
    put_number(draft, field->place, field->width, value);
}

void draft_address(struct draft *draft, const char *key, const void *bytes, size_t size)
{
    const struct field *field = draft_field(draft, key);

    assert_int_equal(field->kind, FIELD_ADDRESS);
    assert_true(size <= field->width);
    memcpy(draft->bytes + field->place, bytes, size);
}

void draft_append(struct draft *draft, const char *key, const void *bytes, size_t size,
                  uint64_t full_size)
{
    const struct field *field = draft_field(draft, key);

    assert_true(field->counter_width != 0);
    assert_true(draft->size + size <= sizeof(draft->bytes));
    put_number(draft, field->place, field->counter_width, full_size);
    if (size != 0)
        memcpy(draft->bytes + draft->size, bytes, size);
    draft->size += size;
}

void draft_string(struct draft *draft, const char *key, const char *text)
{
    draft_append(draft, key, text, strlen(text), strlen(text));
}

struct event draft_event(const struct draft *draft)
{
    return (struct event){.bytes = draft->bytes, .size = draft->size};
}

struct event fenced(const struct event *event, size_t size)
{
    static const size_t room = 1 << 16;
    static uint8_t *memory;
    struct event copy = *event;

    if (memory == NULL) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        memory =
            mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(memory != MAP_FAILED);
        assert_int_equal(mprotect(memory + room, page, PROT_NONE), 0);
    }
    assert_true(size <= room);
    memset(memory, 0xa5, room);
    /* bytes after the end of the event */
    memcpy(memory + room - size, event->bytes, size < event->size ? size : event->size);
    copy.bytes = memory + room - size;
    copy.size = size;
    return copy;
}

static int compile(const char *source, const char *library)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        /* -w: BPF programs convert between pointers and integers without casts */
        execlp(TEST_CC, TEST_CC, "-shared", "-fPIC", "-O0", "-w",
               "-Werror=implicit-function-declaration", "-nostdinc", "-I" TEST_BPF_HEADERS, "-o",
               library, source, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

void *library_open(const char *source)
{
    char folder[] = "/tmp/h2olog-unit.XXXXXX", *path, *library_path;
    void *library = NULL;
    FILE *file;
    int status;

    assert_non_null(mkdtemp(folder));
    path = memory_format("%s/code.c", folder);
    library_path = memory_format("%s/code.so", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(source, file);
    fclose(file);
    status = compile(path, library_path);
    if (status == 0)
        library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    unlink(path);
    unlink(library_path);
    rmdir(folder);
    free(path);
    free(library_path);
    if (library == NULL)
        fail_msg("%s: %s", TEST_CC, status == 0 ? dlerror() : "does not compile it");
    return library;
}

void printer_open(struct printer *printer, struct sink (*open)(const struct sink_settings *),
                  struct output *output, const struct server_probe *probes, size_t num_printed,
                  size_t num_followed)
{
    *printer = (struct printer){.open = open, .num_followed = num_followed};
    printer->settings = (struct sink_settings){.output = output,
                                               .messages = output,
                                               .probes = probes,
                                               .num_probes = num_printed,
                                               .clock = &printer->clock};
    decoder_open(&printer->decoder, probes, num_printed, num_printed + num_followed, false);
    printer->sink = open(&printer->settings);
}

void printer_restart(struct printer *printer)
{
    printer->sink.close(printer->sink.state);
    decoder_close(&printer->decoder);
    decoder_open(&printer->decoder, printer->settings.probes, printer->settings.num_probes,
                 printer->settings.num_probes + printer->num_followed, false);
    printer->sink = printer->open(&printer->settings);
}

int printer_print(struct printer *printer, const struct event *event)
{
    struct record record;

    printer->decoder.application_data = printer->settings.application_data;
    if (decoder_decode(&printer->decoder, event, &record) != 0)
        return -1;
    return record.is_printed ? printer->sink.record(printer->sink.state, &record) : 0;
}

void printer_lose(struct printer *printer, uint64_t now_ns, uint64_t count)
{
    printer->clock.now_ns = now_ns;
    printer->sink.lost(printer->sink.state, count);
}

void printer_close(struct printer *printer)
{
    printer->sink.close(printer->sink.state);
    decoder_close(&printer->decoder);
}
