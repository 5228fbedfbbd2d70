/*
 * HTTPS by libcurl, believing a pinned CA only.
 *
 * With a pin the CA's certificate is not known beforehand: it has to come in the server's chain, its
 * key has to be the pinned one, and it is then the only trust anchor.  libcurl checks the name.
 */
#include "base/https.h"
#include "base/hash.h"
#include "base/text.h"
#include <curl/curl.h>
#include <jansson.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define HTTPS_TIMEOUT_S 60L
#define ANSWER_MAX      (4u * 1024u * 1024u)

static bool has_pinned_key(X509 *certificate, cc_view pin)
{
	unsigned char *der = NULL;
	uint8_t digest[SHA256_SIZE];
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

	if (size <= 0)
		return false;
	hash_sha256(cc_view_of(der, (size_t)size), digest);
	OPENSSL_free(der);
	return cc_view_equal(cc_view_of(digest, sizeof(digest)), pin);
}

/* Verify the server's chain under the pinned CA as the only anchor (RFC 5280 section 6). */
static int verify_by_pin(X509_STORE_CTX *peer, void *arg)
{
	const cc_view *pin = arg;
	STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(peer);
	X509_STORE *anchors = X509_STORE_new();
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	int ok = 0;

	if (anchors == NULL || check == NULL)
		goto out;
	for (int i = 0; i < sk_X509_num(sent); i++) {
		X509 *certificate = sk_X509_value(sent, i);
		if (X509_check_ca(certificate) > 0 && has_pinned_key(certificate, *pin))
			X509_STORE_add_cert(anchors, certificate);
	}
	if (X509_STORE_CTX_init(check, anchors, X509_STORE_CTX_get0_cert(peer), sent) != 1)
		goto out;
	X509_STORE_CTX_set_default(check, "ssl_server");
	ok = X509_verify_cert(check);
	if (ok != 1)
		X509_STORE_CTX_set_error(peer, X509_STORE_CTX_get_error(check));
out:
	X509_STORE_CTX_free(check);
	X509_STORE_free(anchors);
	return ok == 1;
}

/* libcurl asks for TLS to an https proxy too, before its answer to CONNECT: that is judged by the
 * proxy's own CA. */
static CURLcode set_pin(CURL *curl, void *ssl_ctx, void *arg)
{
	const struct https_request *ask = arg;
	bool tls_to_proxy = ask->proxy != NULL && ask->proxy->ca_file != NULL;
	long connected = 0;

	curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &connected);
	if (!tls_to_proxy || connected / 100 == 2)
		SSL_CTX_set_cert_verify_callback(
			ssl_ctx, verify_by_pin, (void *)(uintptr_t)&ask->ca_pin);
	return CURLE_OK;
}

/* A token is one word of visible ASCII.  A wrong file in its place (a key, say) must not be sent. */
static bool is_bearer(const cc_secret *bearer)
{
	for (size_t i = 0; i < bearer->size; i++) {
		if (bearer->data[i] <= ' ' || bearer->data[i] > '~')
			return false;
	}
	return bearer->size > 0;
}

static size_t take_answer(char *data, size_t size, size_t count, void *arg)
{
	cc_blob *to = arg;
	size_t n = size * count;
	if (to->size + n > ANSWER_MAX)
		return 0;
	cc_blob_append(to, cc_view_of(data, n));
	return n;
}

static struct curl_slist *headers(const struct https_request *ask, cc_secret *bearer)
{
	struct curl_slist *list = NULL;
	if (ask->body != NULL)
		list = curl_slist_append(list, "Content-Type: application/json");
	if (ask->bearer != NULL) {
		cc_secret_append(bearer, cc_view_text("Authorization: Bearer "));
		cc_secret_append(bearer, cc_secret_view(ask->bearer));
		cc_secret_append(bearer, cc_view_of("", 1));
		list = curl_slist_append(list, (const char *)bearer->data);
	}
	if (ask->idempotency_key != NULL) {
		char *line = cc_asprintf("Idempotency-Key: %s", ask->idempotency_key);
		list = curl_slist_append(list, line);
		free(line);
	}
	return list;
}

static void wipe_line(struct curl_slist *line)
{
	OPENSSL_cleanse(line->data, strlen(line->data));
}

/* Environment variables are not used silently. */
static void set_proxy(CURL *curl, const struct https_proxy *p)
{
	static const struct {
		const char *name;
		unsigned long bits;
	} methods[] = {{"basic", CURLAUTH_BASIC}, {"digest", CURLAUTH_DIGEST},
		{"ntlm", CURLAUTH_NTLM}, {"negotiate", CURLAUTH_NEGOTIATE}};

	curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
	curl_easy_setopt(curl, CURLOPT_PROXY, p != NULL ? p->url : "");
	if (p == NULL)
		return;
	curl_easy_setopt(curl, CURLOPT_SOCKS5_AUTH, CURLAUTH_BASIC);
	curl_easy_setopt(curl, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_PROXY_CAPATH, NULL);
	curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO, p->ca_file);
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (strcmp(p->auth, methods[i].name) != 0)
			continue;
		curl_easy_setopt(curl, CURLOPT_PROXYAUTH, methods[i].bits);
		curl_easy_setopt(curl, CURLOPT_PROXYUSERNAME, p->user != NULL ? p->user : "");
		curl_easy_setopt(curl, CURLOPT_PROXYPASSWORD,
			p->password != NULL ? (const char *)p->password->data : "");
	}
}

static void set_options(CURL *curl, const struct https_request *ask, struct curl_slist *list,
	cc_blob *answer, char *words)
{
	curl_easy_setopt(curl, CURLOPT_URL, ask->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	set_proxy(curl, ask->proxy);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, HTTPS_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(curl, CURLOPT_CAINFO, ask->ca_file);
	if (ask->ca_pin.size > 0) {
		curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, set_pin);
		curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, ask);
	}
	if (ask->client_certificate != NULL) {
		curl_easy_setopt(curl, CURLOPT_SSLCERT, ask->client_certificate);
		curl_easy_setopt(curl, CURLOPT_SSLKEY, ask->client_key);
	}
	if (ask->body != NULL)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask->body);
	if (ask->method != NULL)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask->method);
}

cc_err https_ask(const struct https_request *ask, long *ret_status, cc_blob *ret_body)
{
	char words[CURL_ERROR_SIZE] = "";
	cc_secret bearer = CC_SECRET_NONE;
	struct curl_slist *list = NULL;
	cc_err err = CC_OK;
	CURL *curl = NULL;

	ENSURE(ask->ca_pin.size == SHA256_SIZE || ask->ca_file != NULL,
		cc_fail(CC_CONFIG, "%s: neither a pin nor a CA file to believe the server by",
			ask->url));
	ENSURE(ask->bearer == NULL || is_bearer(ask->bearer),
		cc_fail(CC_CONFIG,
			"%s: the token is not one word in one line; is it the right file? nothing "
			"was "
			"sent",
			ask->url));
	curl = curl_easy_init();
	ENSURE(curl != NULL, cc_fail(CC_INTERNAL, "curl_easy_init failed"));
	list = headers(ask, &bearer);
	set_options(curl, ask, list, ret_body, words);
	CURLcode rc = curl_easy_perform(curl);
	ENSURE(rc == CURLE_OK,
		cc_fail(rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE
				? CC_BAD_SIGNATURE
				: CC_UNREACHABLE,
			"%s: %s", ask->url, words[0] ? words : curl_easy_strerror(rc)));
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
out:
	if (list != NULL && bearer.size > 0) /* libcurl's own copy of the token */
		wipe_line(ask->body != NULL ? list->next : list);
	curl_slist_free_all(list);
	cc_secret_free(&bearer);
	curl_easy_cleanup(curl);
	return err;
}

char *https_problem(long status, cc_view body)
{
	json_t *problem = json_loadb((const char *)body.data, body.size, 0, NULL);
	const char *code = json_string_value(json_object_get(problem, "code"));
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	char *words = cc_asprintf("HTTP %ld%s%s%s%s", status, code ? " " : "", code ? code : "",
		detail ? ": " : "", detail ? detail : "");
	char *printable = text_printable(cc_view_text(words));
	free(words);
	json_decref(problem);
	return printable;
}
