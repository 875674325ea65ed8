/*
 * The USDT probes of quicly, h2o's QUIC: every signature that h2o has shipped since 2019-09. h2o-probes.d
 * explains the annotations.
 *
 * `@appdata` has more than quicly's own list. quicly's logger treats `data` of a stream as application data.
 * `decrypted` of crypto_decrypt has the same content as that of packet_received since 2020-12. A stateless
 * reset token can be used to end a connection, so it is printed with `-a` only.
 *
 * `@secret` names arguments that could decrypt the connection. They are never read.
 */

/* @appdata
{
    "crypto_decrypt": ["decrypted"],
    "datagram_receive": ["payload"],
    "datagram_send": ["payload"],
    "new_connection_id_receive": ["stateless_reset_token"],
    "new_connection_id_send": ["stateless_reset_token"],
    "packet_received": ["decrypted"],
    "stream_on_receive": ["src"],
    "stream_receive": ["data"],
    "stream_send": ["data"]
}
*/

/* @secret
{
    "crypto_receive_key_update": ["secret"],
    "crypto_receive_key_update_prepare": ["secret"],
    "crypto_send_key_update": ["secret"],
    "crypto_update_secret": ["secret"]
}
*/

/* @loose
{
    "ack_delay_received": ["ack_delay"],
    "application_close_receive": ["error_code"],
    "application_close_send": ["error_code"],
    "crypto_update_secret": ["epoch"],
    "max_stream_data_receive": ["stream_id"],
    "packet_commit": ["len"],
    "packet_sent": ["len"],
    "quictrace_recv_ack_delay": ["ack_delay"],
    "quictrace_recv_stream": ["stream_id"],
    "quictrace_sent": ["len"],
    "reset_stream_receive": ["error_code", "stream_id"],
    "reset_stream_send": ["error_code"],
    "send": ["state"],
    "stop_sending_receive": ["error_code", "stream_id"],
    "stop_sending_send": ["error_code"],
    "transport_close_receive": ["error_code"],
    "transport_close_send": ["error_code"]
}
*/

provider quicly {
    /* @from 2019-09-24 */
    probe accept(struct st_quicly_conn_t *conn, int64_t at, const char *dcid,
                 struct st_quicly_address_token_plaintext_t *address_token);
    /* @from 2020-12-18 */
    probe ack_block_received(struct st_quicly_conn_t *conn, int64_t at, uint64_t ack_block_begin,
                             uint64_t ack_block_end);
    /* @from 2020-12-18 @until 2022-12-07 */
    probe ack_delay_received(struct st_quicly_conn_t *conn, int64_t at, int64_t ack_delay);
    /* @from 2022-12-07 */
    probe ack_delay_received(struct st_quicly_conn_t *conn, int64_t at, uint64_t ack_delay);
    /* @from 2020-06-05 @until 2021-12-13 */
    probe ack_frequency_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t sequence,
                                uint64_t packet_tolerance, uint64_t max_ack_delay,
                                int ignore_order);
    /* @from 2021-12-13 @until 2026-01-19 */
    probe ack_frequency_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t sequence,
                                uint64_t packet_tolerance, uint64_t max_ack_delay, int ignore_order,
                                int ignore_ce);
    /* @from 2026-01-19 */
    probe ack_frequency_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t sequence,
                                uint64_t packet_tolerance, uint64_t max_ack_delay,
                                uint64_t reordering_threshold);
    /* @from 2020-06-06 */
    probe ack_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t largest_acked,
                   uint64_t ack_delay);
    /* @from 2019-09-24 */
    probe application_close_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t error_code,
                                    const char *reason_phrase);
    /* @from 2019-09-24 */
    probe application_close_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t error_code,
                                 const char *reason_phrase);
    /* @from 2019-09-24 */
    probe cc_ack_received(struct st_quicly_conn_t *conn, int64_t at, uint64_t largest_acked,
                          size_t bytes_acked, uint32_t cwnd, size_t inflight);
    /* @from 2019-09-24 */
    probe cc_congestion(struct st_quicly_conn_t *conn, int64_t at, uint64_t max_lost_pn,
                        size_t inflight, uint32_t cwnd);
    /* @from 2020-06-28 */
    probe conn_stats(struct st_quicly_conn_t *conn, int64_t at, struct st_quicly_stats_t *stats,
                     size_t size);
    /* @from 2019-09-24 */
    probe connect(struct st_quicly_conn_t *conn, int64_t at, uint32_t version);
    /* @from 2019-09-24 @until 2020-02-24 */
    probe crypto_decrypt(struct st_quicly_conn_t *conn, uint64_t pn, const void *decrypted,
                         size_t decrypted_len);
    /* @from 2020-02-24 @until 2020-12-03 */
    probe crypto_decrypt(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn,
                         const void *decrypted, size_t decrypted_len);
    /* @from 2019-09-24 @until 2020-02-24 */
    probe crypto_handshake(struct st_quicly_conn_t *conn, int ret);
    /* @from 2020-02-24 @until 2025-01-12 */
    probe crypto_handshake(struct st_quicly_conn_t *conn, int64_t at, int ret);
    /* @from 2025-01-12 */
    probe crypto_handshake(struct st_quicly_conn_t *conn, int64_t at, int64_t ret);
    /* @from 2019-12-06 @until 2020-02-24 */
    probe crypto_receive_key_update(struct st_quicly_conn_t *conn, uint64_t phase,
                                    const char *secret);
    /* @from 2020-02-24 */
    probe crypto_receive_key_update(struct st_quicly_conn_t *conn, int64_t at, uint64_t phase,
                                    const char *secret);
    /* @from 2019-12-06 @until 2020-02-24 */
    probe crypto_receive_key_update_prepare(struct st_quicly_conn_t *conn, uint64_t phase,
                                            const char *secret);
    /* @from 2020-02-24 */
    probe crypto_receive_key_update_prepare(struct st_quicly_conn_t *conn, int64_t at,
                                            uint64_t phase, const char *secret);
    /* @from 2019-12-06 @until 2020-02-24 */
    probe crypto_send_key_update(struct st_quicly_conn_t *conn, uint64_t phase, const char *secret);
    /* @from 2020-02-24 */
    probe crypto_send_key_update(struct st_quicly_conn_t *conn, int64_t at, uint64_t phase,
                                 const char *secret);
    /* @from 2019-12-06 @until 2020-02-24 */
    probe crypto_send_key_update_confirmed(struct st_quicly_conn_t *conn, uint64_t next_pn);
    /* @from 2020-02-24 */
    probe crypto_send_key_update_confirmed(struct st_quicly_conn_t *conn, int64_t at,
                                           uint64_t next_pn);
    /* @from 2019-09-24 @until 2020-02-24 */
    probe crypto_update_secret(struct st_quicly_conn_t *conn, int is_enc, uint8_t epoch,
                               const char *label, const char *secret);
    /* @from 2020-02-24 */
    probe crypto_update_secret(struct st_quicly_conn_t *conn, int64_t at, int is_enc, uint8_t epoch,
                               const char *label, const char *secret);
    /* @from 2019-09-24 */
    probe data_blocked_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t off);
    /* @from 2020-09-08 */
    probe data_blocked_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t off);
    /* @from 2020-11-10 */
    probe datagram_receive(struct st_quicly_conn_t *conn, int64_t at, const void *payload,
                           size_t payload_len);
    /* @from 2020-11-10 */
    probe datagram_send(struct st_quicly_conn_t *conn, int64_t at, const void *payload,
                        size_t payload_len);
    /* @from 2020-01-31 */
    probe debug_message(struct st_quicly_conn_t *conn, const char *function, int line,
                        const char *message);
    /* @from 2024-07-28 */
    probe delete_path(struct st_quicly_conn_t *conn, int64_t at, size_t path_index);
    /* @from 2023-10-19 */
    probe ecn_congestion(struct st_quicly_conn_t *conn, int64_t at, uint64_t ce_count);
    /* @from 2023-10-19 */
    probe ecn_validation(struct st_quicly_conn_t *conn, int64_t at, int ecn_state);
    /* @from 2024-07-28 */
    probe elicit_path_migration(struct st_quicly_conn_t *conn, int64_t at, size_t path_index);
    /* @from 2024-03-13 */
    probe enter_cc_limited(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn);
    /* @from 2025-10-16 */
    probe enter_jumpstart(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, uint32_t rtt,
                          uint32_t cwnd, uint32_t jumpstart_cwnd);
    /* @from 2024-03-13 */
    probe exit_cc_limited(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn);
    /* @from 2019-09-24 */
    probe free(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2020-01-31 */
    probe handshake_done_receive(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2020-01-31 */
    probe handshake_done_send(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2022-07-15 */
    probe handshake_timeout(struct st_quicly_conn_t *conn, int64_t at, int64_t elapsed,
                            uint32_t rtt_smoothed);
    /* @from 2019-09-24 */
    probe idle_timeout(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2026-01-19 */
    probe immediate_ack_send(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2022-07-15 */
    probe initial_handshake_packet_exceed(struct st_quicly_conn_t *conn, int64_t at,
                                          uint64_t num_packets);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe max_data_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit);
    /* @from 2020-12-18 */
    probe max_data_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit);
    /* @from 2020-12-18 */
    probe max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe max_stream_data_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                  uint64_t limit);
    /* @from 2020-12-18 */
    probe max_stream_data_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                  uint64_t maximum);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe max_stream_data_send(struct st_quicly_conn_t *conn, int64_t at,
                               struct st_quicly_stream_t *stream, uint64_t limit);
    /* @from 2020-12-18 */
    probe max_stream_data_send(struct st_quicly_conn_t *conn, int64_t at,
                               struct st_quicly_stream_t *stream, uint64_t maximum);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe max_streams_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit,
                              int is_unidirectional);
    /* @from 2020-12-18 */
    probe max_streams_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum,
                              int is_unidirectional);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe max_streams_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit,
                           int is_unidirectional);
    /* @from 2020-12-18 */
    probe max_streams_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum,
                           int is_unidirectional);
    /* @from 2020-06-05 */
    probe new_connection_id_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t sequence,
                                    uint64_t retire_prior_to, const char *cid,
                                    const char *stateless_reset_token);
    /* @from 2020-06-05 */
    probe new_connection_id_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t sequence,
                                 uint64_t retire_prior_to, const char *cid,
                                 const char *stateless_reset_token);
    /* @from 2024-07-28 */
    probe new_path(struct st_quicly_conn_t *conn, int64_t at, size_t path_index,
                   const char *remote);
    /* @from 2019-09-24 */
    probe new_token_acked(struct st_quicly_conn_t *conn, int64_t at, uint64_t generation);
    /* @from 2019-09-24 @until 2020-06-05 */
    probe new_token_receive(struct st_quicly_conn_t *conn, int64_t at, uint8_t *token, size_t len);
    /* @from 2020-06-05 */
    probe new_token_receive(struct st_quicly_conn_t *conn, int64_t at, uint8_t *token,
                            size_t token_len);
    /* @from 2019-09-24 @until 2020-06-05 */
    probe new_token_send(struct st_quicly_conn_t *conn, int64_t at, uint8_t *token, size_t len,
                         uint64_t generation);
    /* @from 2020-06-05 */
    probe new_token_send(struct st_quicly_conn_t *conn, int64_t at, uint8_t *token,
                         size_t token_len, uint64_t generation);
    /* @from 2019-09-24 @until 2020-06-05 */
    probe packet_acked(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, int newly_acked);
    /* @from 2020-06-05 */
    probe packet_acked(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, int is_late_ack);
    /* @from 2019-09-24 @until 2020-12-03 */
    probe packet_commit(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, size_t len,
                        int ack_only);
    /* @from 2020-12-03 */
    probe packet_decryption_failed(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe packet_lost(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn);
    /* @from 2020-12-18 */
    probe packet_lost(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, uint8_t packet_type);
    /* @from 2019-09-24 */
    probe packet_prepare(struct st_quicly_conn_t *conn, int64_t at, uint8_t first_octet,
                         const char *dcid);
    /* @from 2020-12-03 */
    probe packet_received(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn,
                          const void *decrypted, size_t decrypted_len, uint8_t packet_type);
    /* @from 2020-12-03 */
    probe packet_sent(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, size_t len,
                      uint8_t packet_type, int ack_only);
    /* @from 2024-07-28 */
    probe path_challenge_receive(struct st_quicly_conn_t *conn, int64_t at, const void *bytes,
                                 size_t bytes_len);
    /* @from 2024-07-28 */
    probe path_challenge_send(struct st_quicly_conn_t *conn, int64_t at, const void *bytes,
                              size_t bytes_len);
    /* @from 2024-07-28 */
    probe path_response_receive(struct st_quicly_conn_t *conn, int64_t at, const void *bytes,
                                size_t bytes_len);
    /* @from 2024-07-28 */
    probe path_response_send(struct st_quicly_conn_t *conn, int64_t at, const void *bytes,
                             size_t bytes_len);
    /* @from 2020-06-06 */
    probe ping_receive(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2020-06-06 */
    probe ping_send(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2024-07-28 */
    probe promote_path(struct st_quicly_conn_t *conn, int64_t at, size_t path_index);
    /* @from 2019-09-24 */
    probe pto(struct st_quicly_conn_t *conn, int64_t at, size_t inflight, uint32_t cwnd,
              int8_t pto_count);
    /* @from 2019-09-24 */
    probe quictrace_cc_ack(struct st_quicly_conn_t *conn, int64_t at, struct quicly_rtt_t *rtt,
                           uint32_t cwnd, size_t inflight);
    /* @from 2019-09-24 */
    probe quictrace_cc_lost(struct st_quicly_conn_t *conn, int64_t at, struct quicly_rtt_t *rtt,
                            uint32_t cwnd, size_t inflight);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe quictrace_lost(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn);
    /* @from 2019-09-24 @until 2020-12-03 */
    probe quictrace_recv(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe quictrace_recv_ack(struct st_quicly_conn_t *conn, int64_t at, uint64_t ack_block_begin,
                             uint64_t ack_block_end);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe quictrace_recv_ack_delay(struct st_quicly_conn_t *conn, int64_t at, int64_t ack_delay);
    /* @from 2019-09-24 */
    probe quictrace_recv_stream(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                uint64_t off, size_t len, int fin);
    /* @from 2019-09-24 */
    probe quictrace_send_stream(struct st_quicly_conn_t *conn, int64_t at,
                                struct st_quicly_stream_t *stream, uint64_t off, size_t len,
                                int fin);
    /* @from 2019-09-24 @until 2020-12-03 */
    probe quictrace_sent(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, size_t len,
                         uint8_t packet_type);
    /* @from 2019-09-24 @until 2020-06-05 */
    probe receive(struct st_quicly_conn_t *conn, int64_t at, const char *dcid, const void *bytes,
                  size_t num_bytes);
    /* @from 2020-06-05 @until 2026-01-19 */
    probe receive(struct st_quicly_conn_t *conn, int64_t at, const char *dcid, const void *bytes,
                  size_t bytes_len);
    /* @from 2026-01-19 */
    probe receive(struct st_quicly_conn_t *conn, int64_t at, const char *dcid, const void *bytes,
                  size_t bytes_len, int64_t receive_delay);
    /* @from 2021-07-09 @until 2025-01-12 */
    probe reset_stream_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                               uint16_t error_code, uint64_t final_size);
    /* @from 2025-01-12 */
    probe reset_stream_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                               int64_t error_code, uint64_t final_size);
    /* @from 2021-07-09 @until 2025-01-12 */
    probe reset_stream_send(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                            uint16_t error_code, uint64_t final_size);
    /* @from 2025-01-12 */
    probe reset_stream_send(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                            int64_t error_code, uint64_t final_size);
    /* @from 2020-06-05 */
    probe retire_connection_id_receive(struct st_quicly_conn_t *conn, int64_t at,
                                       uint64_t sequence);
    /* @from 2020-06-05 */
    probe retire_connection_id_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t sequence);
    /* @from 2019-09-24 */
    probe send(struct st_quicly_conn_t *conn, int64_t at, int state, const char *dcid);
    /* @from 2019-09-24 @until 2020-02-24 */
    probe stateless_reset_receive(struct st_quicly_conn_t *conn, int64_t now);
    /* @from 2020-02-24 */
    probe stateless_reset_receive(struct st_quicly_conn_t *conn, int64_t at);
    /* @from 2021-07-09 @until 2025-01-12 */
    probe stop_sending_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                               uint16_t error_code);
    /* @from 2025-01-12 */
    probe stop_sending_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                               int64_t error_code);
    /* @from 2021-07-09 @until 2025-01-12 */
    probe stop_sending_send(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                            uint16_t error_code);
    /* @from 2025-01-12 */
    probe stop_sending_send(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                            int64_t error_code);
    /* @from 2019-09-24 */
    probe stream_acked(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id, uint64_t off,
                       size_t len);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe stream_data_blocked_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                      uint64_t limit);
    /* @from 2020-12-18 */
    probe stream_data_blocked_receive(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                      uint64_t maximum);
    /* @from 2020-09-08 @until 2020-12-18 */
    probe stream_data_blocked_send(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                   uint64_t limit);
    /* @from 2020-12-18 */
    probe stream_data_blocked_send(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id,
                                   uint64_t maximum);
    /* @from 2019-09-24 */
    probe stream_lost(struct st_quicly_conn_t *conn, int64_t at, int64_t stream_id, uint64_t off,
                      size_t len);
    /* @from 2020-07-21 @until 2025-01-12 */
    probe stream_on_destroy(struct st_quicly_conn_t *conn, int64_t at,
                            struct st_quicly_stream_t *stream, int err);
    /* @from 2025-01-12 */
    probe stream_on_destroy(struct st_quicly_conn_t *conn, int64_t at,
                            struct st_quicly_stream_t *stream, int64_t err);
    /* @from 2020-07-21 */
    probe stream_on_open(struct st_quicly_conn_t *conn, int64_t at,
                         struct st_quicly_stream_t *stream);
    /* @from 2020-07-21 @until 2020-08-23 */
    probe stream_on_receive(struct st_quicly_conn_t *conn, int64_t at,
                            struct st_quicly_stream_t *stream, size_t off, const void *src,
                            size_t len);
    /* @from 2020-08-23 @until 2025-08-27 */
    probe stream_on_receive(struct st_quicly_conn_t *conn, int64_t at,
                            struct st_quicly_stream_t *stream, size_t off, const void *src,
                            size_t src_len);
    /* @from 2025-08-27 */
    probe stream_on_receive(struct st_quicly_conn_t *conn, int64_t at,
                            struct st_quicly_stream_t *stream, size_t buf_off, size_t apply_off,
                            size_t apply_len);
    /* @from 2020-07-21 @until 2025-01-12 */
    probe stream_on_receive_reset(struct st_quicly_conn_t *conn, int64_t at,
                                  struct st_quicly_stream_t *stream, int err);
    /* @from 2025-01-12 */
    probe stream_on_receive_reset(struct st_quicly_conn_t *conn, int64_t at,
                                  struct st_quicly_stream_t *stream, int64_t err);
    /* @from 2020-07-21 */
    probe stream_on_send_emit(struct st_quicly_conn_t *conn, int64_t at,
                              struct st_quicly_stream_t *stream, size_t off, size_t capacity);
    /* @from 2020-07-21 */
    probe stream_on_send_shift(struct st_quicly_conn_t *conn, int64_t at,
                               struct st_quicly_stream_t *stream, size_t delta);
    /* @from 2020-07-21 @until 2025-01-12 */
    probe stream_on_send_stop(struct st_quicly_conn_t *conn, int64_t at,
                              struct st_quicly_stream_t *stream, int err);
    /* @from 2025-01-12 */
    probe stream_on_send_stop(struct st_quicly_conn_t *conn, int64_t at,
                              struct st_quicly_stream_t *stream, int64_t err);
    /* @from 2019-09-24 @until 2025-08-27 */
    probe stream_receive(struct st_quicly_conn_t *conn, int64_t at,
                         struct st_quicly_stream_t *stream, uint64_t off, size_t len);
    /* @from 2025-08-27 */
    probe stream_receive(struct st_quicly_conn_t *conn, int64_t at,
                         struct st_quicly_stream_t *stream, uint64_t off, const void *data,
                         size_t data_len, int is_fin);
    /* @from 2019-09-24 @until 2025-08-27 */
    probe stream_send(struct st_quicly_conn_t *conn, int64_t at, struct st_quicly_stream_t *stream,
                      uint64_t off, size_t len, int is_fin);
    /* @from 2025-08-27 */
    probe stream_send(struct st_quicly_conn_t *conn, int64_t at, struct st_quicly_stream_t *stream,
                      uint64_t off, const void *data, size_t data_len, int is_fin, int wrote_all);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe streams_blocked_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit,
                                  int is_unidirectional);
    /* @from 2020-12-18 */
    probe streams_blocked_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum,
                                  int is_unidirectional);
    /* @from 2019-09-24 @until 2020-12-18 */
    probe streams_blocked_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit,
                               int is_unidirectional);
    /* @from 2020-12-18 */
    probe streams_blocked_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum,
                               int is_unidirectional);
    /* @from 2019-09-24 */
    probe transport_close_receive(struct st_quicly_conn_t *conn, int64_t at, uint64_t error_code,
                                  uint64_t frame_type, const char *reason_phrase);
    /* @from 2019-09-24 */
    probe transport_close_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t error_code,
                               uint64_t frame_type, const char *reason_phrase);
    /* @from 2019-09-24 */
    probe version_switch(struct st_quicly_conn_t *conn, int64_t at, uint32_t new_version);
};
