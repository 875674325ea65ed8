/*
 * The kernel side of unit-capture: replacements of the BPF helpers. unit-capture puts the text of a
 * program in place of the marker below, with calls of helper_N instead of helper number N, and
 * compiles it.
 */

unsigned long long bpf_pseudo_fd(unsigned long long kind, unsigned long long fd);
void *helper_1(const void *map, const void *key);
long helper_2(const void *map, const void *key, const void *value, unsigned long long flags);
long helper_3(const void *map, const void *key);
unsigned long long helper_5(void);
long helper_12(void *ctx, const void *map, unsigned index);
unsigned long long helper_14(void);
long helper_112(void *to, unsigned size, const void *from);
long helper_114(void *to, unsigned size, const void *from);
long helper_120(unsigned long long device, unsigned long long inode, void *ids, unsigned size);
long helper_130(const void *ring, const void *data, unsigned long long size,
                unsigned long long flags);
unsigned long long helper_134(const void *ring, unsigned long long flags);
unsigned long long helper_174(void *ctx);
struct submission;
long helper_10000(struct submission *submission);

/* THE PROGRAM */

/* The maps: one tie, two scratches, and a ring with the latest event. */
u64 lost[4096];
struct scratch scratches[2];
u8 event_bytes[EVENT_MAX];
u64 event_size, waiting;
u32 gate[2], num_wakes, num_events;
u64 tie_id;
u32 has_tie;
struct tie tie_value;

/* The behaviour of the helpers, and what they recorded. */
u32 is_full;                  /* the ring is full */
u32 is_old;                   /* the helper returns 0 for empty text, as in old kernels */
u64 secret_begin, secret_end; /* secret bytes, which no program may read */
u64 slot;                     /* the pointer to them, which no program may read either */
u32 has_leaked;               /* a program has read some of these */
u64 tail_called;              /* the index of the last tail call */

u64 bpf_pseudo_fd(u64 kind, u64 fd)
{
    if (kind != 2)
        return fd;
    return fd == LOST_MAP ? (u64)lost : fd == GATE_MAP ? (u64)gate : 0;
}

void *helper_1(const void *map, const void *key) /* map_lookup */
{
    if ((u64)map == SCRATCH_MAP)
        return *(u32 *)key < 2 ? &scratches[*(u32 *)key] : 0;
    return (u64)map == TIES_MAP && has_tie && *(u64 *)key == tie_id ? &tie_value : 0;
}

long helper_2(const void *map, const void *key, const void *value, u64 flags) /* map_update */
{
    if ((u64)map != TIES_MAP || flags != 0)
        return -22;
    has_tie = 1;
    tie_id = *(u64 *)key;
    tie_value = *(struct tie *)value;
    return 0;
}

long helper_3(const void *map, const void *key) /* map_delete */
{
    if ((u64)map != TIES_MAP || !has_tie || *(u64 *)key != tie_id)
        return -2;
    has_tie = 0;
    return 0;
}

long helper_10000(struct submission *submission) /* the call that src/kernel/load.c resolves */
{
    return put_event(submission);
}

u64 helper_5(void) /* ktime_get_ns */
{
    return 0x1122334455667788ULL;
}

u64 helper_14(void) /* get_current_pid_tgid */
{
    return 0x0000123400005678ULL;
}

long helper_12(void *ctx, const void *map, u32 index) /* tail_call */
{
    if ((u64)map != ENTRIES_MAP)
        return -22;
    tail_called = index;
    return 0;
}

u64 helper_174(void *ctx) /* get_attach_cookie */
{
    return 77;
}

/* Addresses 1 to 4095 are not mapped. */
static int is_memory(u64 from, u64 size)
{
    if ((from < secret_end && from + size > secret_begin) ||
        (slot && from < slot + 8 && from + size > slot))
        has_leaked = 1;
    return from >= 4096;
}

long helper_112(void *to, u32 size, const void *from) /* probe_read_user */
{
    if (!is_memory((u64)from, size)) {
        __builtin_memset(to, 0, size);
        return -14;
    }
    __builtin_memcpy(to, from, size);
    return 0;
}

long helper_114(void *to, u32 size, const void *from) /* probe_read_user_str */
{
    u32 length = 0;

    if (!is_memory((u64)from, 1))
        return -14;
    while (length + 1 < size && ((const char *)from)[length] != 0)
        ++length;
    __builtin_memcpy(to, from, length);
    ((char *)to)[length] = 0;
    return is_old && length == 0 ? 0 : length + 1;
}

long helper_120(u64 device, u64 inode, void *ids, u32 size) /* get_ns_current_pid_tgid */
{
    if (device != 7 || inode != 8 || size != 8)
        return -22;
    *(u32 *)ids = 4242;
    return 0;
}

long helper_130(const void *ring, const void *data, u64 size, u64 flags) /* ringbuf_output */
{
    if ((u64)ring != RING_MAP || size > EVENT_MAX || is_full)
        return -11;
    __builtin_memcpy(event_bytes, data, size);
    event_size = size;
    ++num_events;
    num_wakes += flags == 2;
    waiting += size + 8;
    while (waiting % 8 != 0)
        ++waiting;
    return 0;
}

u64 helper_134(const void *ring, u64 flags) /* ringbuf_query */
{
    return waiting;
}

/* Fills the stack and the scratches with `byte`. */
void dirty(u8 byte)
{
    volatile u8 stack[4096];

    for (u32 i = 0; i != sizeof(stack); ++i)
        stack[i] = byte;
    __builtin_memset(scratches[0].event, byte, EVENT_MAX);
}

/* Calls a program for a probe with this stack pointer. */
int call(int (*function)(struct pt_regs *), u64 sp)
{
    struct pt_regs registers = {0};

    registers.sp = sp;
    return function(&registers);
}
