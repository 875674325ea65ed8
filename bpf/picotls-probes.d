/*
 * The USDT probes of picotls, h2o's TLS: every signature that h2o has shipped since 2019-08. See
 * h2o-probes.d and quicly-probes.d for what the annotations mean.
 *
 * `@appdata`: `bytes` of receive_message is the whole handshake message, certificates and tickets among them.
 *
 * `@text` names what is declared as bytes and is text that ends with a NUL: picotls makes hex of a client
 * random before it fires the probe.
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
