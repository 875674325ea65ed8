/*
 * Tests bpf/capture.h and the capture of every signature: compiles them for this machine with
 * replacements of the kernel's helpers, runs them with arguments of a server, and decodes the
 * events.
 */
#include "support.h"

#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "kernel/program.h"
#include "memory.h"
#include "server/operand.h"

/* The helpers that the program calls, by number. capture_kernel.c has the replacements. */
static const unsigned helpers[] = {1,   2,   3,   5,   12,  14,              112,
                                   114, 120, 130, 134, 174, PROGRAM_PUT_CALL};

enum { MAP_RING = 11, MAP_LOST, MAP_SCRATCH, MAP_TIES, MAP_ENTRIES, MAP_GATE };

enum { GATE_OPEN, GATE_READER_WAITS }; /* the words of struct gate */

#define WATERMARK_BYTES 4096

#define STAMP_NS UINT64_C(0x1122334455667788)
#define TID      4242

/*
 * The width of integer operands: as declared, or as some compilers and expressions change it.
 */
enum widths { AS_DECLARED, AT_LEAST_4, ALWAYS_8, NUM_WIDTHS };

static unsigned operand_width(const struct argument *argument, enum widths widths)
{
    unsigned least = widths == AS_DECLARED ? 1 : widths == AT_LEAST_4 ? 4 : 8;

    return argument->width < least ? least : argument->width;
}

/* Makes operands on the stack, 8 bytes apart. Free it with free(). */
static char *make_operands(const struct signature *signature, enum widths widths)
{
    char *operands = memory_format("%s", "");

    for (size_t i = 0; i != signature->num_arguments; ++i) {
        const struct argument *argument = &signature->arguments[i];
        bool is_signed = argument->is_signed || (widths != AS_DECLARED && !argument->is_pointer);
        char *longer = memory_format(operand_native() == OPERAND_X86_64 ? "%s%s%s%u@%zu(%%rsp)"
                                                                        : "%s%s%s%u@[sp, %zu]",
                                     operands, i != 0 ? " " : "", is_signed ? "-" : "",
                                     operand_width(argument, widths), 8 * i);
        free(operands);
        operands = longer;
    }
    return operands;
}

/* A program of all signatures, each at one location. */
struct bench {
    enum widths widths;
    struct probe *probes;
    struct location *locations;
    struct server_probe *server_probes;
    struct program program;
    struct program_settings selection;
    void *library;
    /* symbols of the library */
    uint64_t *lost, *event_size, *tie_id, *secret_begin, *secret_end, *slot, *waiting, *tail_called;
    uint32_t *gate, *num_wakes, *num_events, *has_tie, *is_full, *is_old, *has_leaked;
    struct tie *tie;
    uint8_t *event_bytes, *scratches;
    int (*call)(void *function, uint64_t sp);
    void (*dirty)(uint8_t byte);
    /* values in the server */
    uint64_t stack[PROBE_ARGUMENTS_MAX];
    uint8_t objects[PROBE_ARGUMENTS_MAX][2048];
    uint64_t numbers[PROBE_ARGUMENTS_MAX]; /* values of integers */
};

static void fail_on_skip(const struct server_probe *server_probe, const struct location *location)
{
    fail_msg("%s cannot be read: %s", server_probe->signature->declaration, location->arguments);
}

/* The text of the program with the replaced helpers. Free it with free(). */
static char *make_source(const char *text)
{
    static const char marker[] = "/* THE PROGRAM */";
    char *kernel = data_read("../unit/capture_kernel.c"), *place = strstr(kernel, marker), *source;

    assert_non_null(place);
    source = memory_format("%.*s%s%s", (int)(place - kernel), kernel, text, place + strlen(marker));
    free(kernel);

    for (size_t i = 0; i != sizeof(helpers) / sizeof(helpers[0]); ++i) {
        char *number = memory_format("(void *)%u;", helpers[i]), *at = strstr(source, number),
             *longer;
        if (at == NULL)
            fail_msg("helper %u is not called", helpers[i]);
        longer = memory_format("%.*s(void *)helper_%u;%s", (int)(at - source), source, helpers[i],
                               at + strlen(number));
        free(number);
        free(source);
        source = longer;
    }
    return source;
}

static void *find(const struct bench *bench, const char *name)
{
    void *symbol = dlsym(bench->library, name);

    if (symbol == NULL)
        fail_msg("there is no %s", name);
    return symbol;
}

static void bench_find(struct bench *bench)
{
    void *call, *dirty;

    bench->lost = find(bench, "lost");
    bench->event_size = find(bench, "event_size");
    bench->tie_id = find(bench, "tie_id");
    bench->secret_begin = find(bench, "secret_begin");
    bench->secret_end = find(bench, "secret_end");
    bench->slot = find(bench, "slot");
    bench->waiting = find(bench, "waiting");
    bench->tail_called = find(bench, "tail_called");
    bench->gate = find(bench, "gate");
    bench->num_wakes = find(bench, "num_wakes");
    bench->num_events = find(bench, "num_events");
    bench->tie = find(bench, "tie_value");
    bench->has_tie = find(bench, "has_tie");
    bench->is_full = find(bench, "is_full");
    bench->is_old = find(bench, "is_old");
    bench->has_leaked = find(bench, "has_leaked");
    bench->event_bytes = find(bench, "event_bytes");
    bench->scratches = find(bench, "scratches");
    call = find(bench, "call");
    memcpy(&bench->call, &call, sizeof(call));
    dirty = find(bench, "dirty");
    memcpy(&bench->dirty, &dirty, sizeof(dirty));
}

/* Makes the program, checks its number of functions, and loads it. */
static void bench_open(struct bench *bench, size_t num_functions)
{
    const struct program_maps maps = {MAP_RING, MAP_LOST,    MAP_SCRATCH,
                                      MAP_TIES, MAP_ENTRIES, MAP_GATE};
    char *source;

    program_open(&bench->program, operand_native(), &bench->selection, &maps, fail_on_skip);
    assert_int_equal(bench->program.num_functions, num_functions);
    source = make_source(bench->program.text);
    bench->library = library_open(source);
    free(source);
    bench_find(bench);
    bench->gate[GATE_OPEN] = 1;
}

static void bench_load(struct bench *bench)
{
    bench_open(bench, num_signatures);
}

static struct bench *bench_make(enum widths widths)
{
    struct bench *bench = memory_grow(NULL, 1, sizeof(*bench));

    *bench = (struct bench){.widths = widths};
    bench->probes = memory_grow(NULL, num_signatures, sizeof(bench->probes[0]));
    bench->locations = memory_grow(NULL, num_signatures, sizeof(bench->locations[0]));
    bench->server_probes = memory_grow(NULL, num_signatures, sizeof(bench->server_probes[0]));
    for (size_t i = 0; i != num_signatures; ++i) {
        bench->locations[i] = (struct location){.arguments = make_operands(&signatures[i], widths)};
        bench->probes[i] = (struct probe){.locations = &bench->locations[i], .num_locations = 1};
        bench->server_probes[i] =
            (struct server_probe){.probe = &bench->probes[i], .signature = &signatures[i]};
    }
    bench->selection = (struct program_settings){
        .probes = bench->server_probes,
        .num_probes = num_signatures,
        .num_printed = num_signatures,
        .additions = {.connections = true, .times = true, .threads = THREADS_SERVER},
        .pid_device = 7,
        .pid_inode = 8,
        .watermark = WATERMARK_BYTES,
    };
    return bench;
}

static void bench_free(struct bench *bench)
{
    for (size_t i = 0; i != num_signatures; ++i)
        free(bench->locations[i].arguments);
    free(bench->locations);
    free(bench->probes);
    free(bench->server_probes);
    free(bench);
}

static void bench_close(struct bench *bench)
{
    dlclose(bench->library);
    program_dispose(&bench->program);
    bench_free(bench);
}

/* Returns a reset bench for most tests, with or without application data. */
static struct bench *shared_bench(bool application_data)
{
    static struct bench *shared[2];
    struct bench *bench = shared[application_data];

    if (bench == NULL) {
        bench = shared[application_data] = bench_make(AS_DECLARED);
        bench->selection.application_data = application_data;
        bench_load(bench);
    }
    memset(bench->lost, 0, (num_signatures + 1) * sizeof(bench->lost[0]));
    *bench->has_tie = 0;
    *bench->tie = (struct tie){0};
    return bench;
}

static int close_shared_benches(void **state)
{
    (void)state;
    bench_close(shared_bench(false));
    bench_close(shared_bench(true));
    return 0;
}

/* Returns the declared type of an argument, such as "const char *". */
static void type_of(const struct signature *signature, size_t nth, char *type, size_t size)
{
    const char *at = strchr(signature->declaration, '(') + 1, *end;

    for (; nth != 0; --nth)
        at = strchr(at, ',') + 2;
    end = at + strcspn(at, ",)");
    while (end[-1] != ' ' && end[-1] != '*')
        --end;
    snprintf(type, size, "%.*s", (int)(end - at), at);
}

static bool has_type(const struct signature *signature, size_t nth, const char *expected)
{
    char type[64];

    type_of(signature, nth, type, sizeof(type));
    return strcmp(type, expected) == 0;
}

static bool is_bytes(const struct signature *signature, size_t nth)
{
    return has_type(signature, nth, "const void *") || has_type(signature, nth, "uint8_t *");
}

static bool is_secret(const struct argument *argument)
{
    return strcmp(argument->name, "secret") == 0 || strcmp(argument->name, "secret_hex") == 0;
}

/* Returns the index of an argument, -1 if there is none. */
static int find_argument(const struct signature *signature, const char *name)
{
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        if (strcmp(signature->arguments[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

/* Returns the argument with the length of another one, -1 if that is NUL-terminated. */
static int find_counter(const struct signature *signature, size_t nth)
{
    const char *name = signature->arguments[nth].name;
    char wanted[64];
    int found;

    snprintf(wanted, sizeof(wanted), "%s_len", name);
    if ((found = find_argument(signature, wanted)) >= 0)
        return found;
    snprintf(wanted, sizeof(wanted), "num_%s", name);
    if ((found = find_argument(signature, wanted)) >= 0)
        return found;
    return is_bytes(signature, nth) ? find_argument(signature, "len") : -1;
}

/* Puts an integer on the stack, with the size of its operand. */
static void put_number(struct bench *bench, const struct signature *signature, size_t nth,
                       uint64_t value)
{
    const struct argument *argument = &signature->arguments[nth];
    const unsigned unused = 64 - 8u * argument->width;
    union {
        uint8_t value8;
        uint16_t value16;
        uint32_t value32;
        uint64_t value64;
    } slot;

    /* converted to the declared type, then to the width of the operand */
    value = argument->is_signed ? (uint64_t)((int64_t)(value << unused) >> unused)
                                : value << unused >> unused;
    bench->numbers[nth] = value;
    memset(&slot, 0xee, sizeof(slot));
    switch (operand_width(argument, bench->widths)) {
    case 1:
        slot.value8 = (uint8_t)value;
        break;
    case 2:
        slot.value16 = (uint16_t)value;
        break;
    case 4:
        slot.value32 = (uint32_t)value;
        break;
    default:
        slot.value64 = value;
        break;
    }
    memcpy(&bench->stack[nth], &slot, sizeof(slot));
}

/*
 * Puts arguments on the stack, and makes the objects to which they point. Values of variable size
 * have `length` bytes.
 */
static void put_arguments(struct bench *bench, const struct signature *signature, size_t length)
{
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        if (!signature->arguments[i].is_pointer) {
            put_number(bench, signature, i, UINT64_C(0x9182736455463728) * (2 * i + 1));
            continue;
        }
        for (size_t j = 0; j != sizeof(bench->objects[i]); ++j)
            bench->objects[i][j] = (uint8_t)(1 + (37 * i + j) % 255); /* no NUL */
        bench->stack[i] = (uintptr_t)bench->objects[i];
        if (is_secret(&signature->arguments[i])) {
            *bench->secret_begin = bench->stack[i];
            *bench->secret_end = bench->stack[i] + sizeof(bench->objects[i]);
            *bench->slot = (uintptr_t)&bench->stack[i];
        } else if (has_type(signature, i, "struct sockaddr *")) {
            memcpy(bench->objects[i], &(sa_family_t){AF_INET6}, sizeof(sa_family_t));
        }
    }
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        int counter = signature->arguments[i].is_pointer ? find_counter(signature, i) : -1;
        if (counter >= 0)
            put_number(bench, signature, (size_t)counter, length);
        else if (has_type(signature, i, "const char *") || is_bytes(signature, i))
            bench->objects[i][length] = '\0';
        else if (has_type(signature, i, "struct st_quicly_stats_t *"))
            put_number(bench, signature, (size_t)find_argument(signature, "size"), 1032);
    }
}

/* Runs the function of a signature. */
static void run(struct bench *bench, const struct signature *signature)
{
    const size_t id = (size_t)(signature - signatures);
    uint64_t claims[2];

    *bench->num_events = 0;
    *bench->has_leaked = 0;
    assert_ptr_equal(bench->program.functions[id].traced, &bench->server_probes[id]);
    bench->call(find(bench, bench->program.functions[id].name), (uintptr_t)bench->stack);
    if (*bench->has_leaked)
        fail_msg("%s: a secret is read", signature->declaration);
    memcpy(&claims[0], bench->scratches, sizeof(claims[0]));
    memcpy(&claims[1], bench->scratches + 8 + EVENT_MAX, sizeof(claims[1]));
    assert_true(claims[0] <= 1 && claims[1] <= 1);
    *bench->secret_begin = *bench->secret_end = *bench->slot = 0;
}

static void decode_event(struct bench *bench, const struct signature *signature,
                         struct event_head *head, struct value *values)
{
    struct event event = {bench->event_bytes, *bench->event_size};

    if (*bench->num_events != 1)
        fail_msg("%s: it writes %u events", signature->declaration, *bench->num_events);
    event = fenced(&event, event.size);
    if (record_decode(signature, bench->selection.application_data, &event, head, values) != 0)
        fail_msg("%s: its event of %zu bytes is malformed", signature->declaration, event.size);
    assert_int_equal(head->id, signature - signatures);
    assert_int_equal(head->tid, TID);
}

/*
 * Returns the argument of a field, by the rules of the printer; -1 if it has none, or is behind a
 * pointer.
 */
static int argument_of(const struct signature *signature, const char *key)
{
    char name[64];

    if (strcmp(key, "time") == 0)
        return find_argument(signature, "at");
    snprintf(name, sizeof(name), "%s",
             strcmp(key, "bytes-len") == 0 && find_argument(signature, "num_bytes") >= 0
                 ? "num_bytes"
                 : key);
    for (char *at = name; *at != '\0'; ++at)
        *at = *at == '-' ? '_' : *at;
    return find_argument(signature, name);
}

static int argument_of_type(const struct signature *signature, const char *type)
{
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        if (has_type(signature, i, type))
            return (int)i;
    }
    return -1;
}

static uint32_t read32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* Returns the expected number of a field. */
static uint64_t expected_number(const struct bench *bench, const struct signature *signature,
                                const struct field *field)
{
    static const char *const rtt[] = {"min-rtt", "smoothed-rtt", "variance-rtt", "latest-rtt"};
    int nth = argument_of(signature, field->key);
    uint64_t value;

    if (field->kind == FIELD_STAMP)
        return STAMP_NS;
    if (strcmp(field->key, "conn") == 0) {
        nth = argument_of_type(signature, "struct st_quicly_conn_t *");
        return nth >= 0 ? read32(bench->objects[nth] + 16) : bench->tie->conn;
    }
    if (strcmp(field->key, "stream-id") == 0 && nth < 0) {
        nth = argument_of_type(signature, "struct st_quicly_stream_t *");
        memcpy(&value, bench->objects[nth] + 8, sizeof(value));
        return value;
    }
    for (size_t i = 0; i != 4 && nth < 0; ++i) {
        if (strcmp(field->key, rtt[i]) == 0)
            return read32(bench->objects[argument_of_type(signature, "struct quicly_rtt_t *")] +
                          4 * i);
    }
    if (strcmp(field->key, "first-octet") == 0 && nth < 0)
        return bench->objects[find_argument(signature, "bytes")][0];
    if (nth < 0)
        fail_msg("%s: %s is an unknown field", signature->declaration, field->key);
    return signature->arguments[nth].is_pointer ? bench->stack[nth] : bench->numbers[nth];
}

/* Returns the address of quicly's object, from the probe's argument or from the tie. */
static uint64_t expected_connection(const struct bench *bench, const struct signature *signature)
{
    int nth = argument_of_type(signature, "struct st_quicly_conn_t *");

    if (nth >= 0)
        return bench->stack[nth];
    if (strcmp(signature->provider, "h2o") == 0 && find_argument(signature, "conn_id") >= 0)
        return bench->tie->connection;
    return 0;
}

static bool has_number(const struct bench *bench, const struct signature *signature,
                       const struct field *field, const struct value *value)
{
    uint64_t expected = expected_number(bench, signature, field);

    return field->kind == FIELD_SIGNED ? value->integer == (int64_t)expected
                                       : value->number == expected;
}

static bool has_bytes(const struct bench *bench, const struct signature *signature,
                      const struct field *field, const struct value *value, size_t length)
{
    int nth = field->kind == FIELD_STATS ? find_argument(signature, "stats")
                                         : argument_of(signature, field->key);
    size_t size = field->kind == FIELD_STATS ? 1032 : field->kind == FIELD_ADDRESS ? 28 : length;

    return nth >= 0 && value->bytes != NULL && value->size == size && value->full_size == size &&
           memcmp(value->bytes, bench->objects[nth], size) == 0;
}

static void check_fields(const struct bench *bench, const struct signature *signature,
                         const struct value *values, size_t length)
{
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        bool is_right;
        if (field->application_data && !bench->selection.application_data)
            continue;
        switch (field->kind) {
        case FIELD_ADDRESS:
        case FIELD_TEXT:
        case FIELD_BYTES:
        case FIELD_STATS:
            is_right = has_bytes(bench, signature, field, &values[i], length);
            break;
        default:
            is_right = has_number(bench, signature, field, &values[i]);
            break;
        }
        if (!is_right)
            fail_msg("%s: %s is not what the server has", signature->declaration, field->key);
    }
}

/* Every field of every signature, with operands of every width. */
static void check_all(struct bench *bench)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        static const size_t lengths[] = {0, 1, 31, 200};
        for (size_t j = 0; j != sizeof(lengths) / sizeof(lengths[0]); ++j) {
            struct event_head head;
            struct value values[RECORD_FIELDS_MAX];
            put_arguments(bench, &signatures[i], lengths[j]);
            /* tie a connection, so that the event has one */
            *bench->has_tie = 1;
            *bench->tie_id = bench->numbers[0];
            *bench->tie = (struct tie){UINT64_C(0x5555aaaa0000) + i, 0xabcd0000 + (uint32_t)i, 0};
            run(bench, &signatures[i]);
            decode_event(bench, &signatures[i], &head, values);
            assert_int_equal(head.flags & ~EVENT_TIED, 0);
            assert_int_equal(head.connection, expected_connection(bench, &signatures[i]));
            check_fields(bench, &signatures[i], values, lengths[j]);
        }
    }
}

static void captures_every_field(void **state)
{
    (void)state;
    check_all(shared_bench(false));
}

static void captures_application_data(void **state)
{
    (void)state;
    check_all(shared_bench(true));
}

static void converts_as_c_would(void **state)
{
    struct bench *bench = bench_make(AT_LEAST_4);

    (void)state;
    bench->selection.application_data = true;
    bench_load(bench);
    check_all(bench);
    bench_close(bench);
    bench = bench_make(ALWAYS_8);
    bench_load(bench);
    check_all(bench);
    bench_close(bench);
}

/* An operand, and the expected output for the 8 bytes that are there. */
struct unknown_operand {
    const char *x86_64, *aarch64;
    enum field_kind kind;
    uint64_t number;
};

/* For unknown probes, arguments of every size and sign are printed correctly. */
static void unknown_probes_are_captured(void **state)
{
    static const struct unknown_operand operands[] = {
        {"8@0(%rsp)", "8@[sp, 0]", FIELD_UNSIGNED, UINT64_C(0xf1f2f3f4f5f6f7f8)},
        {"-8@0(%rsp)", "-8@[sp, 0]", FIELD_SIGNED, UINT64_C(0xf1f2f3f4f5f6f7f8)},
        {"4@0(%rsp)", "4@[sp, 0]", FIELD_UNSIGNED, UINT64_C(0xf5f6f7f8)},
        {"-4@0(%rsp)", "-4@[sp, 0]", FIELD_SIGNED, UINT64_C(0xfffffffff5f6f7f8)},
        {"2@0(%rsp)", "2@[sp, 0]", FIELD_UNSIGNED, UINT64_C(0xf7f8)},
        {"-2@0(%rsp)", "-2@[sp, 0]", FIELD_SIGNED, UINT64_C(0xfffffffffffff7f8)},
        {"1@0(%rsp)", "1@[sp, 0]", FIELD_UNSIGNED, UINT64_C(0xf8)},
        {"-1@0(%rsp)", "-1@[sp, 0]", FIELD_SIGNED, UINT64_C(0xfffffffffffffff8)},
        {"8@8(%rsp)", "8@[sp, 8]", FIELD_UNSIGNED, 0x7f},
        {"-1@8(%rsp)", "-1@[sp, 8]", FIELD_SIGNED, 0x7f},
        {"8@$-7", "8@-7", FIELD_UNSIGNED, UINT64_C(0xfffffffffffffff9)},
        {"4@$-7", "4@-7", FIELD_UNSIGNED, UINT64_C(0xfffffff9)},
        {"-4@$-7", "-4@-7", FIELD_SIGNED, UINT64_C(0xfffffffffffffff9)},
        {"2@$65536", "2@65536", FIELD_UNSIGNED, 0},
        {"1@$-1", "1@-1", FIELD_UNSIGNED, 0xff},
        {"-1@$255", "-1@255", FIELD_SIGNED, UINT64_MAX},
    };
    const size_t max = sizeof(operands) / sizeof(operands[0]);
    const uint64_t stack[] = {UINT64_C(0xf1f2f3f4f5f6f7f8), 0x7f};
    struct bench *bench = bench_make(AS_DECLARED);

    (void)state;
    assert_int_equal(max, PROBE_ARGUMENTS_MAX);
    for (size_t count = 0; count <= max; ++count) { /* only the last ones */
        struct notes notes;
        struct version version;
        struct event_head head;
        struct event event;
        struct value values[RECORD_FIELDS_MAX];
        char *arguments = memory_format("%s", "");
        for (size_t i = max - count; i != max; ++i) {
            char *longer = memory_format("%s%s%s", arguments, i != max - count ? " " : "",
                                         operand_native() == OPERAND_X86_64 ? operands[i].x86_64
                                                                            : operands[i].aarch64);
            free(arguments);
            arguments = longer;
        }
        notes_open(&notes, NULL);
        notes_add(&notes, "quicly", "brand_new", arguments);
        free(arguments);
        version_open(&version, operand_native(), &notes);
        assert_non_null(version.probes[0].guess);
        bench->selection.probes = version.probes;
        bench->selection.num_probes = bench->selection.num_printed = 1;
        bench_open(bench, 1);
        bench->call(find(bench, bench->program.functions[0].name), (uintptr_t)stack);
        assert_int_equal(*bench->num_events, 1);
        event = (struct event){bench->event_bytes, *bench->event_size};
        assert_int_equal(record_decode(version.probes[0].signature, false, &event, &head, values),
                         0);
        assert_int_equal(head.flags, 0);
        assert_int_equal(head.connection, 0);
        assert_int_equal(version.probes[0].signature->num_fields, count + 1);
        for (size_t i = 0; i != count; ++i) {
            const struct unknown_operand *operand = &operands[max - count + i];
            const struct field *field = &version.probes[0].signature->fields[i];
            assert_int_equal(field->kind, operand->kind);
            if (field->kind == FIELD_SIGNED)
                assert_int_equal(values[i].integer, (int64_t)operand->number);
            else
                assert_int_equal(values[i].number, operand->number);
        }
        assert_int_equal(values[count].number, STAMP_NS);
        dlclose(bench->library);
        program_dispose(&bench->program);
        version_dispose(&version);
        notes_close(&notes);
    }
    bench_free(bench);
}

/*
 * An event has no old content of memory: neither of other events nor of the kernel's stack.
 */
static void check_remains(struct bench *bench)
{
    static uint8_t before[EVENT_MAX];

    for (size_t i = 0; i != num_signatures; ++i) {
        put_arguments(bench, &signatures[i], 20);
        *bench->has_tie = 0;
        bench->dirty(0x11);
        run(bench, &signatures[i]);
        memcpy(before, bench->event_bytes, *bench->event_size);
        *bench->has_tie = 0;
        bench->dirty(0xee);
        run(bench, &signatures[i]);
        for (size_t j = 0; j != *bench->event_size; ++j) {
            if (before[j] != bench->event_bytes[j])
                fail_msg("%s: byte %zu of %zu is not set", signatures[i].declaration, j,
                         (size_t)*bench->event_size);
        }
    }
}

static void events_have_no_old_content(void **state)
{
    (void)state;
    check_remains(shared_bench(false));
    check_remains(shared_bench(true));
}

/* Returns the flags for values of fixed size behind pointers that could not be read. */
static uint16_t behind_pointers(const struct signature *signature)
{
    uint16_t flags = 0;

    for (size_t i = 0; i != signature->num_fields; ++i)
        flags |= signature->fields[i].unread;
    return flags;
}

/* NULL is an empty string. Empty bytes are not read. At least the first byte of others is read. */
static void null_pointers_are_empty(void **state)
{
    struct bench *bench = shared_bench(true);

    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        struct event_head head;
        struct value values[RECORD_FIELDS_MAX];
        put_arguments(bench, signature, 0);
        for (size_t j = 0; j != signature->num_arguments; ++j) {
            if ((has_type(signature, j, "const char *") || is_bytes(signature, j)) &&
                !is_secret(&signature->arguments[j]))
                bench->stack[j] = 0;
        }
        run(bench, signature);
        decode_event(bench, signature, &head, values);
        assert_int_equal(head.flags & ~(EVENT_TIED | behind_pointers(signature)), 0);
        for (size_t j = 0; j != signature->num_fields; ++j) {
            if (signature->fields[j].kind == FIELD_TEXT ||
                signature->fields[j].kind == FIELD_BYTES) {
                assert_non_null(values[j].bytes);
                assert_true(values[j].size == 0 && values[j].full_size == 0);
            }
        }
    }
}

/* An empty text is not unreadable, although some kernels return the length 0. */
static void empty_text_is_empty(void **state)
{
    struct bench *bench = shared_bench(true);
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i != 2 * num_signatures; ++i) {
        const struct signature *signature = &signatures[i / 2];
        struct event_head head;
        struct value values[RECORD_FIELDS_MAX];
        put_arguments(bench, signature, 0);
        *bench->is_old = i % 2;
        run(bench, signature);
        *bench->is_old = 0;
        decode_event(bench, signature, &head, values);
        for (size_t j = 0; j != signature->num_fields; ++j) {
            const struct field *field = &signature->fields[j];
            if ((field->kind != FIELD_TEXT && field->kind != FIELD_BYTES) ||
                find_counter(signature, (size_t)argument_of(signature, field->key)) >= 0)
                continue;
            assert_non_null(values[j].bytes);
            assert_true(values[j].size == 0 && values[j].full_size == 0);
            ++count;
        }
    }
    assert_true(count > 50);
}

/* A value in unmapped memory is marked; other values of the event are captured. */
static void unreadable_pointers_are_marked(void **state)
{
    struct bench *bench = shared_bench(true);
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        for (size_t j = 0; j != signature->num_fields; ++j) {
            const struct field *unread = &signature->fields[j];
            struct event_head head;
            struct value values[RECORD_FIELDS_MAX];
            int nth = unread->kind == FIELD_STATS ? find_argument(signature, "stats")
                                                  : argument_of(signature, unread->key);
            if (unread->counter_width == 0)
                continue;
            put_arguments(bench, signature, 5);
            bench->stack[nth] = 1;
            run(bench, signature);
            decode_event(bench, signature, &head, values);
            for (size_t k = 0; k != signature->num_fields; ++k) {
                if (signature->fields[k].counter_width == 0)
                    continue;
                if ((values[k].bytes == NULL) != (k == j))
                    fail_msg("%s: %s is unreadable, and %s is %s", signature->declaration,
                             unread->key, signature->fields[k].key,
                             values[k].bytes == NULL ? "not there" : "there");
            }
            ++count;
        }
    }
    assert_true(count > 50);
}

/* Long values are truncated; the event has the full length if the server passes it. */
static void long_values_are_truncated(void **state)
{
    struct bench *bench = shared_bench(true);
    static char text[8192];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        struct event_head head;
        struct value values[RECORD_FIELDS_MAX];
        put_arguments(bench, signature, 0);
        for (size_t j = 0; j != signature->num_arguments; ++j) {
            int counter;
            if ((!has_type(signature, j, "const char *") && !is_bytes(signature, j)) ||
                is_secret(&signature->arguments[j]))
                continue;
            bench->stack[j] = (uintptr_t)text;
            counter = find_counter(signature, j);
            if (counter >= 0)
                put_number(bench, signature, (size_t)counter, sizeof(text) - 1);
        }
        run(bench, signature);
        decode_event(bench, signature, &head, values);
        for (size_t j = 0; j != signature->num_fields; ++j) {
            const struct field *field = &signature->fields[j];
            bool is_string;
            size_t size;
            if (field->kind != FIELD_TEXT && field->kind != FIELD_BYTES)
                continue;
            /*
             * the NUL counts for the limit of a string; its full length is unknown, so a string at
             * the limit counts as truncated
             */
            is_string = find_counter(signature, (size_t)argument_of(signature, field->key)) < 0;
            size = is_string ? field->max - 1u : field->max;
            assert_int_equal(values[j].size, size);
            assert_int_equal(values[j].full_size, is_string ? size + 1u : sizeof(text) - 1);
            for (size_t k = 0; k != values[j].size; ++k)
                assert_int_equal(values[j].bytes[k], 'x');
        }
    }
}

/* A struct with an unknown layout is not read. */
static void unknown_stats_are_not_read(void **state)
{
    struct bench *bench = shared_bench(false);
    const struct signature *signature = signature_on("quicly:conn_stats", 20260629);
    static const uint64_t sizes[] = {0, 935, 937, 1040, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i != sizeof(sizes) / sizeof(sizes[0]); ++i) {
        struct event_head head;
        struct value values[RECORD_FIELDS_MAX];
        put_arguments(bench, signature, 0);
        put_number(bench, signature, (size_t)find_argument(signature, "size"), sizes[i]);
        run(bench, signature);
        decode_event(bench, signature, &head, values);
        assert_int_equal(*bench->event_size, signature->size);
    }
}

static void run_of(struct bench *bench, const char *probe, uint32_t date, uint64_t conn_id)
{
    const struct signature *signature = signature_on(probe, date);

    put_arguments(bench, signature, 3);
    put_number(bench, signature, (size_t)find_argument(signature, "conn_id"), conn_id);
    run(bench, signature);
}

static struct event_head head_of(const struct bench *bench)
{
    struct event_head head;

    memcpy(&head, bench->event_bytes, sizeof(head));
    return head;
}

static uint16_t flags_of(const struct bench *bench)
{
    return head_of(bench).flags;
}

/*
 * The accept event ties h2o's connection to quicly's, the close event unties it. Both carry the
 * connection.
 */
static void check_ties(const char *accept, const char *close, uint32_t date)
{
    struct bench *bench = shared_bench(false);
    uint64_t connection;
    uint32_t conn;

    run_of(bench, "h2o:send_response_header", date, 5);
    assert_int_equal(*bench->num_events, 1);
    assert_int_equal(flags_of(bench), 0);
    run_of(bench, accept, date, 5);
    assert_int_equal(flags_of(bench), EVENT_TIED);
    assert_int_equal(*bench->has_tie, 1);
    assert_int_equal(*bench->tie_id, 5);
    conn = bench->tie->conn;
    connection = bench->tie->connection;
    assert_int_equal(connection, bench->stack[find_argument(signature_on(accept, date), "quic")]);
    assert_int_equal(head_of(bench).conn, conn);
    assert_int_equal(head_of(bench).connection, connection);
    run_of(bench, "h2o:send_response_header", date, 5);
    assert_int_equal(flags_of(bench), EVENT_TIED);
    assert_int_equal(head_of(bench).conn, conn);
    assert_int_equal(head_of(bench).connection, connection);
    run_of(bench, "h2o:send_response_header", date, 6); /* of another connection */
    assert_int_equal(flags_of(bench), 0);
    assert_int_equal(head_of(bench).conn, 0);
    assert_int_equal(head_of(bench).connection, 0);
    run_of(bench, close, date, 5);
    assert_int_equal(flags_of(bench), EVENT_TIED);
    assert_int_equal(head_of(bench).conn, conn);
    assert_int_equal(head_of(bench).connection, connection);
    assert_int_equal(*bench->has_tie, 0);
    run_of(bench, "h2o:send_response_header", date, 5);
    assert_int_equal(flags_of(bench), 0);
}

static void connections_are_tied(void **state)
{
    (void)state;
    check_ties("h2o:h3_accept", "h2o:h3_close", 20200604);
    check_ties("h2o:h3s_accept", "h2o:h3s_destroy", 20260629);
}

/* `quic` leaves out other connections of h2o. `http` ties nothing. */
static void connections_of_http1(void **state)
{
    struct bench *bench = bench_make(AS_DECLARED);

    (void)state;
    bench->selection.additions.http3_only = true;
    bench_load(bench);
    run_of(bench, "h2o:send_response_header", 20260629, 5);
    assert_int_equal(*bench->num_events, 0);
    run_of(bench, "h2o:h3s_accept", 20260629, 5);
    assert_int_equal(*bench->num_events, 1);
    run_of(bench, "h2o:send_response_header", 20260629, 5);
    assert_int_equal(*bench->num_events, 1);
    run_of(bench, "h2o:send_response_header", 20260629, 6);
    assert_int_equal(*bench->num_events, 0);
    bench_close(bench);

    bench = bench_make(AS_DECLARED);
    bench->selection.additions.connections = false;
    bench_load(bench);
    run_of(bench, "h2o:h3s_accept", 20260629, 5);
    assert_int_equal(*bench->has_tie, 0);
    run_of(bench, "h2o:send_response_header", 20260629, 5);
    assert_int_equal(*bench->num_events, 1);
    assert_int_equal(flags_of(bench), 0);
    bench_close(bench);
}

/* A probe that is traced only for ties writes no event. */
static void silent_probes_only_tie(void **state)
{
    struct bench *bench = bench_make(AS_DECLARED);

    (void)state;
    bench->selection.num_printed = 0;
    bench_load(bench);
    run_of(bench, "h2o:h3s_accept", 20260629, 5);
    assert_int_equal(*bench->num_events, 0);
    assert_int_equal(*bench->has_tie, 1);
    run_of(bench, "h2o:h3s_destroy", 20260629, 5);
    assert_int_equal(*bench->num_events, 0);
    assert_int_equal(*bench->has_tie, 0);
    assert_int_equal(bench->lost[num_signatures], 0);
    bench_close(bench);
}

static void set_claims(struct bench *bench, uint64_t first, uint64_t second)
{
    memcpy(bench->scratches, &first, sizeof(first));
    memcpy(bench->scratches + 8 + EVENT_MAX, &second, sizeof(second));
}

/* A lost event also ties and unties, because later events depend on it. */
static void lost_events_tie(void **state)
{
    struct bench *bench = shared_bench(false);
    static const struct {
        const char *probe;
        uint32_t date;
        uint32_t ties;
    } probes[] = {
        {"h2o:h3_accept", 20200604, 1},  {"h2o:h3_close", 20200604, 0},
        {"h2o:h3s_accept", 20200801, 1}, {"h2o:h3s_destroy", 20200801, 0},
        {"h2o:h3s_accept", 20260629, 1}, {"h2o:h3s_destroy", 20260629, 0},
    };

    (void)state;
    for (size_t i = 0; i != 2 * sizeof(probes) / sizeof(probes[0]); ++i) {
        const size_t nth = i / 2;
        *bench->has_tie = !probes[nth].ties;
        *bench->tie_id = 5;
        *bench->is_full = i % 2 == 0; /* no room in the ring, and no scratch on this CPU */
        set_claims(bench, i % 2, i % 2);
        run_of(bench, probes[nth].probe, probes[nth].date, 5);
        set_claims(bench, 0, 0);
        *bench->is_full = 0;
        assert_int_equal(*bench->has_tie, probes[nth].ties);
        assert_int_equal(*bench->tie_id, 5);
    }
}

/* Events that the reader needs, but does not print, reach it. */
static void followed_probes_reach_the_reader(void **state)
{
    struct bench *bench = bench_make(AS_DECLARED);

    (void)state;
    bench->selection.num_printed = 0;
    bench->selection.num_followed = bench->selection.num_probes;
    bench_load(bench);
    put_arguments(bench, signature_on("quicly:free", 20260629), 3);
    run(bench, signature_on("quicly:free", 20260629));
    assert_int_equal(*bench->num_events, 1);
    bench_close(bench);
}

/* A loss is counted per probe and in total, and the next event has the count. */
static void losses_are_counted(void **state)
{
    struct bench *bench = shared_bench(false);
    struct event_head head;
    struct value values[RECORD_FIELDS_MAX];

    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        put_arguments(bench, &signatures[i], 3);
        *bench->is_full = 1;
        run(bench, &signatures[i]);
        assert_int_equal(*bench->num_events, 0);
        assert_int_equal(bench->lost[i], 1);
        assert_int_equal(bench->lost[num_signatures], i + 1);
        *bench->is_full = 0;
        run(bench, &signatures[i]);
        decode_event(bench, &signatures[i], &head, values);
        assert_int_equal(head.lost, i + 1);
    }
}

/* A preempted program occupies one of the two scratches of its CPU. */
static void scratches_are_claimed(void **state)
{
    struct bench *bench = shared_bench(false);
    const struct signature *signature = signature_on("h2o:send_response_header", 20260629);
    struct event_head head;
    struct value values[RECORD_FIELDS_MAX];
    uint8_t *first, *second;

    (void)state;
    first = bench->scratches + 8;
    second = first + EVENT_MAX + 8;
    put_arguments(bench, signature, 100);
    memset(first, 0x11, EVENT_MAX);
    memset(second, 0x22, EVENT_MAX);
    set_claims(bench, 1, 0);
    run(bench, signature);
    decode_event(bench, signature, &head, values);
    check_fields(bench, signature, values, 100);
    for (size_t i = 0; i != EVENT_MAX; ++i) /* the unfinished event is unchanged */
        assert_int_equal(first[i], 0x11);
    assert_int_equal(read32(bench->scratches), 1);
    assert_int_equal(read32(bench->scratches + 8 + EVENT_MAX), 0); /* released */
    set_claims(bench, 1, 1);
    run(bench, signature);
    assert_int_equal(*bench->num_events, 0);
    assert_int_equal(bench->lost[signature - signatures], 1);
    assert_int_equal(read32(bench->scratches), 1);
    assert_int_equal(read32(bench->scratches + 8 + EVENT_MAX), 1);
    set_claims(bench, 0, 0);
    run(bench, signature);
    decode_event(bench, signature, &head, values);
    assert_int_equal(read32(bench->scratches), 0);
}

/* While the gate is closed, probes do nothing: no event, no loss, no tie. */
static void closed_gate_stops_everything(void **state)
{
    struct bench *bench = shared_bench(true);
    void *dispatch = find(bench, PROGRAM_DISPATCH);

    (void)state;
    bench->gate[GATE_OPEN] = 0;
    *bench->is_full = 1;
    for (size_t i = 0; i != num_signatures; ++i) {
        put_arguments(bench, &signatures[i], 5);
        run(bench, &signatures[i]);
        assert_int_equal(*bench->num_events, 0);
    }
    *bench->is_full = 0;
    assert_int_equal(bench->lost[num_signatures], 0);
    assert_int_equal(*bench->has_tie, 0);
    *bench->tail_called = 0;
    bench->call(dispatch, 0);
    assert_int_equal(*bench->tail_called, 0);
    bench->gate[GATE_OPEN] = 1;
    bench->call(dispatch, 0);
    assert_int_equal(*bench->tail_called, 77);
}

/*
 * The event that fills a batch (with its head and padding) wakes a waiting reader, once. If two
 * events at the same time fill it, the next one wakes the reader.
 */
static void waiting_reader_is_woken_once(void **state)
{
    struct bench *bench = shared_bench(false);
    static const char *const probes[] = {"h2o:send_response", "h2o:send_response_header",
                                         "quicly:packet_sent"};

    (void)state;
    for (size_t i = 0; i != 3 * 64; ++i) {
        const struct signature *signature = signature_on(probes[i % 3], 20260629);
        uint64_t before = 0;
        put_arguments(bench, signature, i / 3);
        *bench->waiting = 0;
        *bench->num_wakes = 0;
        bench->gate[GATE_READER_WAITS] = 1;
        while (*bench->num_wakes == 0 && *bench->waiting < 2 * WATERMARK_BYTES) {
            before = *bench->waiting;
            run(bench, signature);
        }
        assert_true(before < WATERMARK_BYTES && *bench->waiting >= WATERMARK_BYTES);
        run(bench, signature);
        assert_int_equal(*bench->num_wakes, 1);
        bench->gate[GATE_READER_WAITS] = 1; /* a batch was written at once */
        run(bench, signature);
        assert_int_equal(*bench->num_wakes, 2);
        assert_int_equal(bench->gate[GATE_READER_WAITS], 0);
    }
}

/* A lost event does not wake the reader; the next event in the ring does. */
static void lost_events_do_not_wake_the_reader(void **state)
{
    struct bench *bench = shared_bench(false);
    const struct signature *signature = signature_on("quicly:packet_sent", 20260629);

    (void)state;
    put_arguments(bench, signature, 0);
    *bench->waiting = WATERMARK_BYTES;
    *bench->num_wakes = 0;
    bench->gate[GATE_READER_WAITS] = 1;
    *bench->is_full = 1;
    run(bench, signature);
    *bench->is_full = 0;
    run(bench, signature);
    assert_int_equal(*bench->num_wakes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captures_every_field),
        cmocka_unit_test(captures_application_data),
        cmocka_unit_test(converts_as_c_would),
        cmocka_unit_test(unknown_probes_are_captured),
        cmocka_unit_test(events_have_no_old_content),
        cmocka_unit_test(null_pointers_are_empty),
        cmocka_unit_test(empty_text_is_empty),
        cmocka_unit_test(unreadable_pointers_are_marked),
        cmocka_unit_test(long_values_are_truncated),
        cmocka_unit_test(unknown_stats_are_not_read),
        cmocka_unit_test(connections_are_tied),
        cmocka_unit_test(connections_of_http1),
        cmocka_unit_test(silent_probes_only_tie),
        cmocka_unit_test(lost_events_tie),
        cmocka_unit_test(followed_probes_reach_the_reader),
        cmocka_unit_test(losses_are_counted),
        cmocka_unit_test(scratches_are_claimed),
        cmocka_unit_test(closed_gate_stops_everything),
        cmocka_unit_test(waiting_reader_is_woken_once),
        cmocka_unit_test(lost_events_do_not_wake_the_reader),
    };

    return cmocka_run_group_tests(tests, NULL, close_shared_benches);
}
