/*
 * A list as an h2o source tree can have it: each kind of thing that h2o's lists have had, and some that they
 * may come to have. No server has these probes.
 *
 * @appdata is not meant here
 */
#pragma D option quiet
#pragma D attributes Evolving/Evolving/Common provider h2o provider

// declared before the provider, so that the C compiler knows the names
struct st_h2o_tunnel_t;
struct st_quicly_conn_t; /* two
                          * lines */
union un_other_t;
enum en_state { STATE_NONE = 0, STATE_OPEN = 1 << 2, STATE_CLOSED = -1 };
struct st_other_t {
    char name[8];
    union {
        int number;
        double fraction;
    } value;
};
typedef struct st_quicly_conn_t quicly_conn_t;
typedef const char *text_t;
typedef uint32_t counter_t, *counters_t;
typedef struct { int x; } point_t;
typedef uint16_t port_t;
extern int h2o_probes_are_on;

/* @appdata
{
    "with_marks": ["plain_text"]
}
*/

provider h2o {
    /**
     * Nothing, in both ways to say so.
     */
    probe none();
    probe nothing(void);
    /**
     * Types by other names; stars wherever they are.
     */
    probe types(quicly_conn_t *conn, text_t reason, port_t port, const int number, const struct sockaddr *from,
                const char* spaced, unsigned long count, uintptr_t cb, bool is_on);
    /**
     * Marks, of ours and of their own.
     */
    probe with_marks(const char *plain_text, /* @appdata */ const char *body_text, const char *header_text,
                     const void *bytes, size_t bytes_len);
    /**
     * What is left out: each for a reason of its own.
     */
    probe left_out(uint64_t conn_id, struct st_other_t *other, union un_other_t *another, struct timeval at_,
                   size_t *counters, point_t point, const void *endless, const char *session_secret,
                   const void *odd, int odd_len, struct st_quicly_stats_t *stats, int conn, int type, uint64_t req_id);
    /**
     * Names that mean something in C, or in h2olog's own C.
     */
    probe names(uint64_t flags, int id, int end, uint32_t event, int arg0, unsigned STAMP, int register,
                const char *head, size_t head_len);
    /**
     * More arguments than a probe can have.
     */
    probe too_many(int a1, int a2, int a3, int a4, int a5, int a6, int a7, int a8, int a9, int a10, int a11, int a12,
                   int a13, int a14, int a15, int a16, int a17);
    /**
     * More text than an event has room for.
     */
    probe large(uint64_t id, const void *first, size_t first_len, const void *second, size_t second_len);
};
