/*
 * The USDT probes of picotls, h2o's TLS: every signature that h2o has shipped since 2019-08. h2o-probes.d
 * and quicly-probes.d explain the annotations.
 *
 * `@appdata`: `bytes` of receive_message is the whole handshake message, with certificates and tickets.
 *
 * `@text` names arguments that are declared as bytes, but are NUL-terminated text: picotls passes a client
 * random in hex.
 */

/* @appdata
{
    "receive_message": ["bytes"]
}
*/

/* @secret
{
    "new_secret": ["secret_hex"]
}
*/

/* @text
{
    "client_random": ["bytes"]
}
*/

provider picotls {
    /* @from 2019-08-27 */
    probe client_random(struct st_ptls_t *tls, const void *bytes);
    /* @from 2022-12-10 */
    probe ech_selection(struct st_ptls_t *tls, int is_ech);
    /* @from 2019-08-27 */
    probe free(struct st_ptls_t *tls);
    /* @from 2019-08-27 */
    probe new(struct st_ptls_t *tls, int is_server);
    /* @from 2019-08-27 */
    probe new_secret(struct st_ptls_t *tls, const char *label, const char *secret_hex);
    /* @from 2019-08-27 */
    probe receive_message(struct st_ptls_t *tls, uint8_t message, const void *bytes, size_t len,
                          int result);
};
