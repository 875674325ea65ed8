/*
 * The USDT probes of h2o: every signature since 2019-08.
 *
 * `@from` is the date of the first h2o revision with the signature. `@until` is the date of the revision
 * that changed or removed it; a current signature has none. A list from an h2o source tree has neither, and
 * is read as current.
 *
 * `@appdata` names arguments with application data: those that h2o marks, and the payload of packets and
 * frames, encrypted or not. (`base` is the name of `bytes` until 2020-09-04.) They are read only with `-a`,
 * except names and values of headers, which h2olog always prints.
 *
 * `@loose` names integers that h2o passes with another type than the declared one, so their operands have
 * another size or sign. If a probe has more arguments than the list says, it is read by its first ones only
 * if all other operands have the declared size and sign.
 */

/* @appdata
{
    "h3_frame_receive": ["base", "bytes"],
    "h3_packet_receive": ["base", "bytes"],
    "receive_request_header": ["name", "value"],
    "send_response_header": ["name", "value"],
    "tunnel_on_read": ["bytes"],
    "tunnel_write": ["bytes"]
}
*/

/* @loose
{
    "connect_udp_write": ["num_bytes"],
    "h2_unknown_frame_type": ["frame_type"],
    "h3_stream_create": ["req_id"],
    "h3_stream_destroy": ["req_id"],
    "h3_stream_set_state": ["req_id"],
    "h3s_stream_set_state": ["req_id"],
    "h3s_stream_stats": ["stream_id"]
}
*/

provider h2o {
    /* @from 2021-04-30 @until 2024-12-18 */
    probe _private_socket_lookup_flags(pid_t tid, uint64_t original_flags,
                                       struct st_h2o_ebpf_map_key_t *info);
    /* @from 2021-06-11 @until 2024-12-18 */
    probe _private_socket_lookup_flags_sni(pid_t tid, uint64_t original_flags,
                                           const char *server_name, size_t server_name_len);
    /* @from 2022-07-25 */
    probe connect_dispose(uint64_t conn_id, uint64_t req_id);
    /* @from 2022-07-25 */
    probe connect_error(uint64_t conn_id, uint64_t req_id, const char *error_type,
                        const char *details, const char *rcode);
    /* @from 2022-07-25 */
    probe connect_io_timeout(uint64_t conn_id, uint64_t req_id);
    /* @from 2022-12-07 */
    probe connect_success(uint64_t conn_id, uint64_t req_id, struct sockaddr *dest);
    /* @from 2022-07-25 */
    probe connect_tcp_read(uint64_t conn_id, uint64_t req_id, size_t num_bytes);
    /* @from 2022-07-25 */
    probe connect_tcp_read_error(uint64_t conn_id, uint64_t req_id, const char *err);
    /* @from 2022-07-25 */
    probe connect_tcp_start(uint64_t conn_id, uint64_t req_id, struct sockaddr *dest);
    /* @from 2022-07-25 */
    probe connect_tcp_write(uint64_t conn_id, uint64_t req_id, size_t num_bytes);
    /* @from 2022-07-25 */
    probe connect_tcp_write_error(uint64_t conn_id, uint64_t req_id, const char *err);
    /* @from 2022-07-25 */
    probe connect_udp_read(uint64_t conn_id, uint64_t req_id, size_t num_bytes);
    /* @from 2022-07-25 */
    probe connect_udp_start(uint64_t conn_id, uint64_t req_id, struct sockaddr *dest);
    /* @from 2022-07-25 */
    probe connect_udp_write(uint64_t conn_id, uint64_t req_id, size_t num_bytes);
    /* @from 2019-08-27 @until 2021-06-08 */
    probe h1_accept(uint64_t conn_id, struct st_h2o_socket_t *sock, struct st_h2o_conn_t *conn);
    /* @from 2021-06-08 */
    probe h1_accept(uint64_t conn_id, struct st_h2o_socket_t *sock, struct st_h2o_conn_t *conn,
                    const char *conn_uuid);
    /* @from 2019-08-27 */
    probe h1_close(uint64_t conn_id);
    /* @from 2020-02-15 */
    probe h2_unknown_frame_type(uint64_t conn_id, uint8_t frame_type);
    /* @from 2019-12-18 @until 2020-07-21 */
    probe h3_accept(uint64_t conn_id, struct st_h2o_conn_t *conn, struct st_quicly_conn_t *quic);
    /* @from 2019-12-18 @until 2020-07-21 */
    probe h3_close(uint64_t conn_id);
    /* @from 2021-02-26 */
    probe h3_forwarded_packet_receive(struct sockaddr *dest, struct sockaddr *src,
                                      size_t num_bytes);
    /* @from 2020-07-21 @until 2020-09-04 */
    probe h3_frame_receive(uint64_t frame_type, const void *base, size_t len);
    /* @from 2020-09-04 */
    probe h3_frame_receive(uint64_t frame_type, const void *bytes, size_t bytes_len);
    /* @from 2020-02-23 @until 2020-03-21 */
    probe h3_packet_forward(struct sockaddr *dest, struct sockaddr *src, size_t num_packets,
                            size_t num_bytes);
    /* @from 2020-03-21 */
    probe h3_packet_forward(struct sockaddr *dest, struct sockaddr *src, size_t num_packets,
                            size_t num_bytes, int fd);
    /* @from 2021-06-22 */
    probe h3_packet_forward_to_node_ignore(uint64_t node_id);
    /* @from 2021-06-22 */
    probe h3_packet_forward_to_thread_ignore(uint32_t thread_id);
    /* @from 2020-02-23 @until 2020-09-04 */
    probe h3_packet_receive(struct sockaddr *dest, struct sockaddr *src, const void *base,
                            size_t len);
    /* @from 2020-09-04 */
    probe h3_packet_receive(struct sockaddr *dest, struct sockaddr *src, const void *bytes,
                            size_t bytes_len);
    /* @from 2019-12-18 @until 2020-07-21 */
    probe h3_stream_create(uint64_t conn_id, uint64_t req_id);
    /* @from 2019-12-18 @until 2020-07-21 */
    probe h3_stream_destroy(uint64_t conn_id, uint64_t req_id);
    /* @from 2019-12-18 @until 2020-07-21 */
    probe h3_stream_set_state(uint64_t conn_id, uint64_t req_id, unsigned state);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe h3c_tunnel_create(struct st_h2o_tunnel_t *tunnel);
    /* @from 2020-07-21 @until 2021-06-08 */
    probe h3s_accept(uint64_t conn_id, struct st_h2o_conn_t *conn, struct st_quicly_conn_t *quic);
    /* @from 2021-06-08 */
    probe h3s_accept(uint64_t conn_id, struct st_h2o_conn_t *conn, struct st_quicly_conn_t *quic,
                     const char *conn_uuid);
    /* @from 2020-07-21 @until 2026-06-10 */
    probe h3s_destroy(uint64_t conn_id);
    /* @from 2026-06-10 */
    probe h3s_destroy(uint64_t conn_id, uint64_t num_requests, uint64_t request_stream_bytes,
                      uint64_t request_header_bytes, uint64_t request_body_bytes,
                      uint64_t request_header_count, uint64_t request_header_text_bytes,
                      uint64_t response_stream_bytes, uint64_t response_header_bytes,
                      uint64_t response_body_bytes, uint64_t response_header_count,
                      uint64_t response_header_text_bytes);
    /* @from 2020-07-21 */
    probe h3s_stream_set_state(uint64_t conn_id, uint64_t req_id, unsigned state);
    /* @from 2026-06-10 */
    probe h3s_stream_stats(uint64_t conn_id, uint64_t stream_id, uint64_t request_stream_bytes,
                           uint64_t request_header_bytes, uint64_t request_body_bytes,
                           uint64_t request_header_count, uint64_t request_header_text_bytes,
                           uint64_t response_stream_bytes, uint64_t response_header_bytes,
                           uint64_t response_body_bytes, uint64_t response_header_count,
                           uint64_t response_header_text_bytes);
    /* @from 2025-04-28 */
    probe io_uring_end(struct st_h2o_io_uring_cmd_t *cmd);
    /* @from 2025-04-28 */
    probe io_uring_splice(struct st_h2o_io_uring_cmd_t *cmd);
    /* @from 2025-04-28 */
    probe io_uring_submit(struct st_h2o_io_uring_cmd_t *cmd);
    /* @from 2019-08-27 @until 2019-11-21 */
    probe receive_request(uint64_t conn_id, int64_t req_id, int http_version);
    /* @from 2019-11-21 */
    probe receive_request(uint64_t conn_id, uint64_t req_id, int http_version);
    /* @from 2019-08-27 */
    probe receive_request_header(uint64_t conn_id, uint64_t req_id, const char *name,
                                 size_t name_len, const char *value, size_t value_len);
    /* @from 2019-12-15 @until 2021-02-16 */
    probe send_response(uint64_t conn_id, uint64_t req_id, int status);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe send_response(uint64_t conn_id, uint64_t req_id, int status,
                        struct st_h2o_tunnel_t *tunnel);
    /* @from 2022-02-07 */
    probe send_response(uint64_t conn_id, uint64_t req_id, int status);
    /* @from 2019-12-15 */
    probe send_response_header(uint64_t conn_id, uint64_t req_id, const char *name, size_t name_len,
                               const char *value, size_t value_len);
    /* @from 2019-11-26 @until 2019-12-15 */
    probe send_response_status(uint64_t conn_id, uint64_t req_id, int status);
    /* @from 2021-02-16 @until 2021-12-16 */
    probe socket_tunnel_create(struct st_h2o_tunnel_t *tunnel);
    /* @from 2021-02-16 @until 2021-12-16 */
    probe socket_tunnel_start(struct st_h2o_tunnel_t *tunnel, size_t bytes_to_consume);
    /* @from 2021-12-16 */
    probe socket_write(struct st_h2o_socket_t *sock, struct st_h2o_iovec_t *bufs, size_t bufcnt,
                       void *cb);
    /* @from 2021-12-16 */
    probe socket_write_complete(struct st_h2o_socket_t *sock, int success);
    /* @from 2021-12-16 */
    probe socket_write_tls_record(struct st_h2o_socket_t *sock, size_t write_size,
                                  size_t bytes_buffered);
    /* @from 2021-12-16 */
    probe socket_writev(struct st_h2o_socket_t *sock, ssize_t ret);
    /* @from 2021-12-16 @until 2022-02-07 */
    probe tunnel_create(struct st_h2o_tunnel_t *tunnel);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe tunnel_on_destroy(struct st_h2o_tunnel_t *tunnel);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe tunnel_on_read(struct st_h2o_tunnel_t *tunnel, const char *err, const void *bytes,
                         size_t bytes_len);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe tunnel_on_write_complete(struct st_h2o_tunnel_t *tunnel, const char *err);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe tunnel_proceed_read(struct st_h2o_tunnel_t *tunnel);
    /* @from 2021-12-16 @until 2022-02-07 */
    probe tunnel_start(struct st_h2o_tunnel_t *tunnel, size_t bytes_to_consume);
    /* @from 2021-02-16 @until 2022-02-07 */
    probe tunnel_write(struct st_h2o_tunnel_t *tunnel, const void *bytes, size_t bytes_len);
};
