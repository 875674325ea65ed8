/*
 * The kernel side's vocabulary: what the capture code of every probe signature is written in.
 *
 * Helpers of the kernel are called by number, through pointers: libbcc rewrites calls by name, and
 * parses all of /proc/kallsyms each time that it meets a bpf_probe_read*.
 *
 * The numbers and the map descriptors that are upper case here are defined by the program's first
 * lines (src/kernel/program.c).
 */

#define INLINE        static inline __attribute__((always_inline))
#define MAP(fd)       ((const void *)bpf_pseudo_fd(1, fd)) /* BPF_PSEUDO_MAP_FD */
#define MAP_VALUE(fd) ((void *)bpf_pseudo_fd(2, fd)) /* BPF_PSEUDO_MAP_VALUE: of the only entry */

static void *(*map_lookup)(const void *map, const void *key) = (void *)1;
static long (*map_update)(const void *map, const void *key, const void *value,
                          u64 flags) = (void *)2;
static long (*map_delete)(const void *map, const void *key) = (void *)3;
static u64 (*ktime_get_ns)(void) = (void *)5;
static long (*tail_call)(void *ctx, const void *map, u32 index) = (void *)12;
static long (*probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*get_ns_current_pid_tgid)(u64 device, u64 inode, void *ids, u32 size) = (void *)120;
static long (*ringbuf_output)(const void *ring, const void *data, u64 size,
                              u64 flags) = (void *)130;
static u64 (*ringbuf_query)(const void *ring, u64 flags) = (void *)134;
static u64 (*get_attach_cookie)(void *ctx) = (void *)174;

/* Volatile, as the user side writes it, too. */
#define GATE ((volatile struct gate *)MAP_VALUE(GATE_MAP))

/*
 * Where an event with values of no fixed size is put together: too large for the stack of 512
 * bytes.
 */
struct scratch {
    u64 claims;
    u8 event[EVENT_MAX];
};

/*
 * Reading an operand of a probe that lies in memory: u/s, and its size in bytes.
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

/* Where the ids lie in structs whose layout is the same in every h2o. */
#define CONNECTION_ID 16 /* u32, struct st_quicly_conn_t::master_id */
#define STREAM_ID     8  /* s64, struct st_quicly_stream_t::stream_id */

/* Reads what a pointer points to; returns `unread` if it cannot be read: it is zero, then. */
INLINE u16 read_behind(void *to, u32 size, u64 from, u16 unread)
{
    return probe_read_user(to, size, (const void *)from) != 0 ? unread : 0;
}

/* The same of an address of either family: a struct sockaddr_in can end where its page does. */
INLINE u16 read_address(void *to, u64 from, u16 unread)
{
    if (probe_read_user(to, 28 /* struct sockaddr_in6 */, (const void *)from) == 0)
        return 0;
    return read_behind(to, 16 /* struct sockaddr_in */, from, unread);
}

/* Events that there was no room for: of each probe, and behind them in all. */
INLINE void count_lost(u32 id)
{
    u64 *lost = MAP_VALUE(LOST_MAP);

    __sync_fetch_and_add(&lost[id], 1);
    __sync_fetch_and_add(&lost[NUM_PROBES], 1);
}

/* The thread, as its own process numbers it. */
INLINE u32 thread_id(void)
{
    struct {
        u32 pid, tgid;
    } ids = {0};

    if (WITH_TIDS)
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
 * Puts an event into the ring. The order in the ring is the order of the events: it is the one of
 * the calls, whatever CPU they are made on. The reader is woken when a batch is there, not for each
 * event: that costs many times the event. Whoever first finds a batch and the reader waiting wakes it.
 * To look whether this event makes the batch full is not enough: of two CPUs' events at the same time,
 * neither may do so alone.
 *
 * It is a function of its own: a copy of it in each of 100 captures would take a third of the
 * compiler's time. src/kernel/load.c puts one behind each program that calls it.
 */
int put_event(struct submission *submission)
{
    struct event_head *head = submission->head;
    u64 size = submission->size, record = (RECORD_HEAD + size + 7) / 8 * 8;
    int wakes = GATE->reader_waits &&
                ringbuf_query(MAP(RING_MAP), 0 /* BPF_RB_AVAIL_DATA */) + record >= WATERMARK;

    if (size > EVENT_MAX) /* never. Verifiers before 5.11 forget the bound of a stored size. */
        return 0;
    head->id = submission->id;
    head->lost = ((u64 *)MAP_VALUE(LOST_MAP))[NUM_PROBES];
    head->tid = thread_id();
    if (wakes) /* before it wakes: the reader can be waiting again a moment later */
        GATE->reader_waits = 0;
    if (ringbuf_output(MAP(RING_MAP), head, size, wakes ? 2 : 1 /* FORCE_, NO_WAKEUP */) != 0) {
        if (wakes) /* a full ring wakes nobody */
            GATE->reader_waits = 1;
        count_lost(submission->id);
    }
    return 0;
}

static long (*put)(struct submission *submission) = (void *)10000; /* PROGRAM_PUT_CALL */

/* A probe that is traced for the ties only is `silent`. */
#define submit(id, event, size)                                                                    \
    do {                                                                                           \
        if (!silent) {                                                                             \
            struct submission submission = {&(event)->head, size, id};                             \
            put(&submission);                                                                      \
        }                                                                                          \
    } while (0)

/* When an event happened that says no time of its own; nobody asks in text mode. */
#define STAMP (WITH_STAMPS ? ktime_get_ns() : 0)

/*
 * A program can be preempted by another thread's on the same CPU, which would then write over its
 * half-made event. So a scratch is claimed: whoever counts itself second (atomically: no two can
 * both count first) takes the next one.
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
 * Appends a value of no fixed size; returns the new end of the event. The empty asm keeps the
 * compiler from proving a bound away that the verifier wants to see.
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
 * Appends text that ends with a NUL, without the NUL, and puts its size to *size; NULL is empty.
 * The helper's answer is compared once, as an unsigned number: of two comparisons, the compiler makes
 * one of another register, whose bound verifiers before 5.18 do not know to be that of the size.
 * It counts the NUL; but older kernels answer 0 of text that is empty (maccess: fix
 * strncpy_from_user_nofault() empty string handling).
 */
INLINE u64 append_string(struct scratch *scratch, u64 end, u64 from, u16 *size, u32 nth)
{
    u64 got;

    *size = 0;
    if (from == 0)
        return end;
    got = probe_read_user_str(scratch->event + end, EVENT_STRING_MAX, (const void *)from) - 1;
    asm volatile("" : "+r"(got));
    if (got >= EVENT_STRING_MAX) { /* an error, or that 0 */
        if (got + 1 != 0)
            ((struct event_head *)scratch->event)->flags |= 1 << nth;
        return end;
    }
    *size = got;
    return end + got;
}

/*
 * h2o counts connections by conn_id, quicly by master_id: the accept event of HTTP/3 has both and
 * ties them, the close event unties them. An h2o event of another connection has no quicly id.
 * A capture does this before anything that can fail: later events depend on it.
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
 * What is known of an event before anything of it is copied, for keep() to decide on. Members that
 * a probe does not have are 0. A constant of every probe's code, or in a register: it costs nothing
 * where nothing looks at it.
 */
struct candidate {
    u32 id;          /* of the probe */
    u16 kind;        /* bits, see below */
    u16 flags;       /* EVENT_TIED: h2o's connection is one of HTTP/3 */
    u64 conn_id;     /* h2o's number of the connection */
    u64 connection;  /* address of quicly's connection object, from the probe or a tie */
    u64 name;        /* of a header: where its name is in the server's memory */
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
