/*
 * The USDT probes of picotls, h2o's TLS: every signature that h2o has shipped since 2019-08. See
 * h2o-probes.d and quicly-probes.d for what the annotations mean.
 *
 * `@length` gives the length of bytes that no argument counts: a TLS client random is 32 (RFC 8446, 4.1.2).
 */

/* @secret
{
    "new_secret": ["secret_hex"]
}
*/

/* @length
{
    "client_random": {"bytes": 32}
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
