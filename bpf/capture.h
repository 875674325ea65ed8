/*
 * The functions that the capture code of all probe signatures uses.
 *
 * Kernel helpers are called by number, through pointers. libbcc rewrites calls by name, and parses
 * all of /proc/kallsyms for each bpf_probe_read* that it finds.
 *
 * src/kernel/program.c defines the upper-case numbers and map descriptors at the beginning of the
 * program.
 */

#define INLINE        static inline __attribute__((always_inline))
#define MAP(fd)       ((const void *)bpf_pseudo_fd(1, fd)) /* BPF_PSEUDO_MAP_FD */
#define MAP_VALUE(fd) ((void *)bpf_pseudo_fd(2, fd)) /* BPF_PSEUDO_MAP_VALUE: of the only entry */

static void *(*map_lookup)(const void *map, const void *key) = (void *)1;
static long (*map_update)(const void *map, const void *key, const void *value,
                          u64 flags) = (void *)2;
static long (*map_delete)(const void *map, const void *key) = (void *)3;
static u64 (*ktime_get_ns)(void) = (void *)5;
static u64 (*get_current_pid_tgid)(void) = (void *)14;
static long (*tail_call)(void *ctx, const void *map, u32 index) = (void *)12;
static long (*probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*get_ns_current_pid_tgid)(u64 device, u64 inode, void *ids, u32 size) = (void *)120;
static long (*ringbuf_output)(const void *ring, const void *data, u64 size,
                              u64 flags) = (void *)130;
static u64 (*ringbuf_query)(const void *ring, u64 flags) = (void *)134;
static u64 (*get_attach_cookie)(void *ctx) = (void *)174;

/* Volatile, because the user side writes it, too. */
#define GATE ((volatile struct gate *)MAP_VALUE(GATE_MAP))

/*
 * Memory for an event with values of variable size, which is too large for the stack of 512 bytes.
 */
struct scratch {
    u64 claims;
    u8 event[EVENT_MAX];
};

/*
 * Functions that read an operand of a probe from memory: u or s for the sign, and the size in
 * bytes.
 */
#define READER(type, name)                                                                         \
    INLINE type name(u64 address)                                                                  \
    {                                                                                              \
        type value = 0;                                                                            \
        probe_read_user(&value, sizeof(value), (const void *)address);                             \
        return value;                                                                              \
    }
READER(u8, read_u1)
READER(s8, read_s1)
READER(u16, read_u2)
READER(s16, read_s2)
READER(u32, read_u4)
READER(s32, read_s4)
READER(u64, read_u8)
READER(s64, read_s8)

/* Offsets of ids in structs. They are the same in every version of h2o. */
#define CONNECTION_ID 16 /* u32, struct st_quicly_conn_t::master_id */
#define STREAM_ID     8  /* s64, struct st_quicly_stream_t::stream_id */

/* Reads the target of a pointer. Returns `unread` if it cannot be read; the result is zero then. */
INLINE u16 read_behind(void *to, u32 size, u64 from, u16 unread)
{
    return probe_read_user(to, size, (const void *)from) != 0 ? unread : 0;
}

/*
 * Reads a socket address. A struct sockaddr_in can be at the end of a mapped page, so it is read
 * alone if the longer struct sockaddr_in6 cannot be read.
 */
INLINE u16 read_address(void *to, u64 from, u16 unread)
{
    if (probe_read_user(to, 28 /* struct sockaddr_in6 */, (const void *)from) == 0)
        return 0;
    return read_behind(to, 16 /* struct sockaddr_in */, from, unread);
}

/* Counts an event that was lost: for its probe, and in total. */
INLINE void count_lost(u32 id)
{
    u64 *lost = MAP_VALUE(LOST_MAP);

    __sync_fetch_and_add(&lost[id], 1);
    __sync_fetch_and_add(&lost[NUM_PROBES], 1);
}

/*
 * Returns the thread id in the PID namespace of the server, or, if the reader only needs to tell
 * threads apart, the number that the kernel uses.
 */
INLINE u32 thread_id(void)
{
    struct {
        u32 pid, tgid;
    } ids = {0};

    if (!WITH_THREADS)
        return 0;
    if (!THREADS_OF_SERVER)
        return (u32)get_current_pid_tgid();
    get_ns_current_pid_tgid(NAMESPACE_DEVICE, NAMESPACE_INODE, &ids, sizeof(ids));
    return ids.pid;
}

/* An event that is to be put into the ring. */
struct submission {
    struct event_head *head;
    u64 size; /* of the event */
    u64 id;   /* of its probe */
};

/*
 * Puts an event into the ring. The order in the ring is the order of the calls on all CPUs.
 *
 * The reader is woken for a batch, because waking it for each event costs many times the event. An
 * event wakes it if the reader waits and the ring has a batch. It is not enough to test whether
 * this event crosses the watermark: two CPUs can cross it together, and neither alone.
 *
 * This function is not inlined: a copy in each of 100 captures would take a third of the compiler's
 * time. src/kernel/load.c appends it to each program that calls it.
 */
int put_event(struct submission *submission)
{
    struct event_head *head = submission->head;
    u64 size = submission->size, record = (RECORD_HEAD + size + 7) / 8 * 8;
    int wakes = GATE->reader_waits &&
                ringbuf_query(MAP(RING_MAP), 0 /* BPF_RB_AVAIL_DATA */) + record >= WATERMARK;

    if (size > EVENT_MAX) /* never true; verifiers before 5.11 lose the bound of a stored size */
        return 0;
    head->id = submission->id;
    head->lost = ((u64 *)MAP_VALUE(LOST_MAP))[NUM_PROBES];
    head->tid = thread_id();
    if (wakes) /* before waking: the reader can wait again at once */
        GATE->reader_waits = 0;
    if (ringbuf_output(MAP(RING_MAP), head, size, wakes ? 2 : 1 /* FORCE_, NO_WAKEUP */) != 0) {
        if (wakes) /* an event that does not fit does not wake the reader */
            GATE->reader_waits = 1;
        count_lost(submission->id);
    }
    return 0;
}

/* The number stands for put_event: src/kernel/load.c resolves these calls. */
static long (*put)(struct submission *submission) = (void *)10000; /* PROGRAM_PUT_CALL */

/* `silent`: the probe is traced only for its ties. */
#define submit(id, event, size)                                                                    \
    do {                                                                                           \
        if (!silent) {                                                                             \
            struct submission submission = {&(event)->head, size, id};                             \
            put(&submission);                                                                      \
        }                                                                                          \
    } while (0)

/* The time of an event whose probe has none. Text mode does not print it. */
#define STAMP (WITH_STAMPS ? ktime_get_ns() : 0)

/*
 * Claims memory for an event. A program can be preempted on its CPU by the program of another
 * thread, which would overwrite a half-written event. Each CPU has two areas. A program increments
 * the area's counter and owns the area if the counter is 1 then; else it tries the second area. The
 * increment is atomic, so two programs cannot both own an area. NULL: both areas are in use, and
 * the event is lost.
 */
INLINE struct scratch *claim(u32 id)
{
    u32 nth = 0;
    struct scratch *scratch = map_lookup(MAP(SCRATCH_MAP), &nth);

    if (scratch) {
        __sync_fetch_and_add(&scratch->claims, 1);
        if (*(volatile u64 *)&scratch->claims == 1)
            return scratch;
        __sync_fetch_and_add(&scratch->claims, -1);
    }
    nth = 1;
    scratch = map_lookup(MAP(SCRATCH_MAP), &nth);
    if (scratch) {
        __sync_fetch_and_add(&scratch->claims, 1);
        if (*(volatile u64 *)&scratch->claims == 1)
            return scratch;
        __sync_fetch_and_add(&scratch->claims, -1);
    }
    count_lost(id);
    return 0;
}

INLINE void release(struct scratch *scratch)
{
    __sync_fetch_and_add(&scratch->claims, -1);
}

/*
 * Appends a value of variable size. Returns the new end of the event. The empty asm keeps the
 * compiler from removing a comparison that the verifier needs.
 */
INLINE u64 append(struct scratch *scratch, u64 end, u64 from, u64 size, u64 max, u32 nth)
{
    asm volatile("" : "+r"(size));
    if (size > max)
        size = max;
    if (size == 0)
        return end;
    if (probe_read_user(scratch->event + end, size, (const void *)from) != 0)
        ((struct event_head *)scratch->event)->flags |= 1 << nth;
    return end + size;
}

/*
 * Appends NUL-terminated text without the NUL, and sets *size. NULL gives empty text.
 *
 * The helper returns the size with the NUL; older kernels return 0 for empty text (maccess: fix
 * strncpy_from_user_nofault() empty string handling). The result is compared once, as an unsigned
 * number. For two comparisons, the compiler uses a second register, and verifiers before 5.18 do
 * not apply its bound to the size.
 */
INLINE u64 append_string(struct scratch *scratch, u64 end, u64 from, u16 *size, u32 nth)
{
    u64 got;

    *size = 0;
    if (from == 0)
        return end;
    got = probe_read_user_str(scratch->event + end, EVENT_STRING_MAX, (const void *)from) - 1;
    asm volatile("" : "+r"(got));
    if (got >= EVENT_STRING_MAX) { /* an error, or the 0 of older kernels */
        if (got + 1 != 0)
            ((struct event_head *)scratch->event)->flags |= 1 << nth;
        return end;
    }
    *size = got;
    return end + got;
}

/*
 * Ties h2o's number of a connection (conn_id) to quicly's (master_id). The accept event of HTTP/3
 * has both numbers and ties them; the close event removes the tie. Other connections of h2o have no
 * number of quicly. A capture calls these functions before anything that can fail, because later
 * events need the tie.
 */
INLINE void tie(u64 conn_id, u32 conn, u64 connection)
{
    const struct tie tie = {connection, conn, 0};

    if (TIE_CONNECTIONS)
        map_update(MAP(TIES_MAP), &conn_id, &tie, 0);
}

INLINE void untie(u64 conn_id)
{
    if (TIE_CONNECTIONS)
        map_delete(MAP(TIES_MAP), &conn_id);
}

INLINE u16 tied(u64 conn_id, u32 *conn, u64 *connection)
{
    struct tie *known = TIE_CONNECTIONS ? map_lookup(MAP(TIES_MAP), &conn_id) : 0;

    if (!known)
        return 0;
    *conn = known->conn;
    *connection = known->connection;
    return EVENT_TIED;
}

/*
 * What is known of an event before it is copied. keep() decides by it. Members that a probe does
 * not have are 0. Each member is a constant or a register, so a member that keep() does not use
 * costs nothing.
 */
struct candidate {
    u32 id;          /* of the probe */
    u16 kind;        /* bits, see below */
    u16 flags;       /* EVENT_TIED: h2o's connection is one of HTTP/3 */
    u64 conn_id;     /* h2o's number of the connection */
    u64 connection;  /* address of quicly's connection object, from the probe or a tie */
    u64 name;        /* of a header: address of its name in the server's memory */
    u64 name_length; /* in bytes */
};

#define ANY_HTTP        1 /* of a connection of any version of HTTP; `flags` tells HTTP/3 */
#define REQUEST_HEADER  2
#define RESPONSE_HEADER 4

/*
 * Returns whether the event is wanted. Every capture calls it once, after it has changed the ties
 * and before it copies anything. src/kernel/program.c writes it for each program.
 */
INLINE int keep(const struct candidate *candidate);
