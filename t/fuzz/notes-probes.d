/*
 * The probe lists that the notes of fuzz-notes are matched with: a few of each kind out of bpf/, as
 * the cost of finding a server's version grows with the number of signatures times that of dates.
 */

/* @appdata
{
    "stream_receive": ["data"]
}
*/

provider quicly {
    /* @from 2019-09-24 */
    probe accept(struct st_quicly_conn_t *conn, int64_t at, const char *dcid,
                 struct st_quicly_address_token_plaintext_t *address_token);
    /* @from 2020-01-31 */
    probe debug_message(struct st_quicly_conn_t *conn, const char *function, int line,
                        const char *message);
    /* @from 2019-09-24 @until 2025-08-27 */
    probe stream_receive(struct st_quicly_conn_t *conn, int64_t at,
                         struct st_quicly_stream_t *stream, uint64_t off, size_t len);
    /* @from 2025-08-27 */
    probe stream_receive(struct st_quicly_conn_t *conn, int64_t at,
                         struct st_quicly_stream_t *stream, uint64_t off, const void *data,
                         size_t len);
};

provider h2o {
    /* @from 2021-06-08 */
    probe h3s_accept(uint64_t conn_id, struct st_h2o_conn_t *conn, struct st_quicly_conn_t *quic,
                     const char *conn_uuid);
    /* @from 2020-07-21 */
    probe h3s_destroy(uint64_t conn_id);
    /* @from 2019-08-27 @until 2019-11-21 */
    probe receive_request(uint64_t conn_id, int64_t req_id, int http_version);
    /* @from 2019-11-21 */
    probe receive_request(uint64_t conn_id, uint64_t req_id, int http_version);
    /* @from 2019-08-27 */
    probe receive_request_header(uint64_t conn_id, uint64_t req_id, const char *name,
                                 size_t name_len, const char *value, size_t value_len);
};
