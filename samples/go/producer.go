// A producer in Go (standard library): makes one PKCS job, signs it, submits it, submits it again, and waits for the
// end.  docs/protocol.md says what is done here; document.go makes the job's bytes, and any protobuf library can stand
// in its place.
//
// usage: producer --queue URL --tenant T --token-file F --ca-file PEM --signer-key PEM --device-key PEM
//
//	         --profile P --user U --subject S --key IDEMPOTENCY-KEY [--job-out F] [--result-out F]
//	producer --vectors FILE
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

const jobType = "application/vnd.certq.job.v1+protobuf"

type object = map[string]any

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "error: "+format+"\n", args...)
	os.Exit(1)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func unbase64(text any) []byte { return must(base64.StdEncoding.DecodeString(text.(string))) }

// DSSE: what is signed is "DSSEv1" SP length(type) SP type SP length(body) SP body.
func pae(body []byte) []byte {
	return []byte(fmt.Sprintf("DSSEv1 %d %s %d %s", len(jobType), jobType, len(body), body))
}

func sign(key crypto.Signer, message []byte) []byte {
	if _, ok := key.(ed25519.PrivateKey); ok {
		return must(key.Sign(nil, message, crypto.Hash(0)))
	}
	digest := sha256.Sum256(message) // P-256; the signature is DER
	return must(key.Sign(rand.Reader, digest[:], crypto.SHA256))
}

func verifies(key crypto.PublicKey, message, signature []byte) bool {
	if k, ok := key.(ed25519.PublicKey); ok {
		return ed25519.Verify(k, message, signature)
	}
	digest := sha256.Sum256(message)
	return ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), digest[:], signature)
}

// The JSON body of POST .../jobs.
func envelope(key crypto.Signer, body []byte) object {
	id := sha256.Sum256(must(x509.MarshalPKIXPublicKey(key.Public())))
	return object{"document": base64.StdEncoding.EncodeToString(body), "document_type": jobType,
		"signatures": []any{object{"key_id": hex.EncodeToString(id[:]),
			"signature": base64.StdEncoding.EncodeToString(sign(key, pae(body)))}}}
}

func jobID(items ...string) string {
	hash := sha256.New()
	for _, item := range append([]string{"certq-job-v1"}, items...) {
		binary.Write(hash, binary.BigEndian, uint32(len(item)))
		hash.Write([]byte(item))
	}
	return "job_" + strings.ToLower(strings.TrimRight(base32.StdEncoding.EncodeToString(hash.Sum(nil)[:16]), "="))
}

func pemFile(path string) []byte {
	block, _ := pem.Decode(must(os.ReadFile(path)))
	if block == nil {
		fail("%s: not PEM", path)
	}
	return block.Bytes
}

func ask(client *http.Client, token, method, url string, body []byte) (int, object) {
	request := must(http.NewRequest(method, url, bytes.NewReader(body)))
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	answer := must(client.Do(request))
	defer answer.Body.Close()
	var to object
	if err := json.NewDecoder(answer.Body).Decode(&to); err != nil {
		fail("%d: %v", answer.StatusCode, err)
	}
	if answer.StatusCode >= 300 { // problem+json: code is stable, detail is for people
		fail("%d %v: %v", answer.StatusCode, to["code"], to["detail"])
	}
	return answer.StatusCode, to
}

func save(path string, value object) {
	if path != "" {
		must(0, os.WriteFile(path, must(json.Marshal(value)), 0o644))
	}
}

func produce(o map[string]*string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(*o["ca-file"])))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	client := &http.Client{Timeout: 90 * time.Second, Transport: transport}
	token := strings.TrimSpace(string(must(os.ReadFile(*o["token-file"]))))
	url := *o["queue"] + "/v1/tenants/" + *o["tenant"] + "/jobs"
	key := must(x509.ParsePKCS8PrivateKey(pemFile(*o["signer-key"]))).(crypto.Signer)
	now := float64(time.Now().Unix())
	device := object{"spki": base64.StdEncoding.EncodeToString(pemFile(*o["device-key"]))}
	job := envelope(key, encode("job", object{ // made once; sent again it must be the same bytes
		"version": 1.0, "tenant": *o["tenant"], "idempotency_key": *o["key"], "not_before_s": now, "not_after_s": now + 86400,
		"issue": object{"holder": object{"user_id": *o["user"]}, "device_key": device, "ca_profile": *o["profile"],
			"key_type": "rsa-2048", "subject": *o["subject"]}}))
	save(*o["job-out"], job)
	status, accepted := ask(client, token, "POST", url, must(json.Marshal(job)))
	fmt.Printf("submitted: %d %v %v\n", status, accepted["id"], accepted["state"])
	status, again := ask(client, token, "POST", url, must(json.Marshal(job))) // a repeat is harmless: 200, the same job
	fmt.Printf("again: %d %v\n", status, again["id"])
	answer := object{}
	for !strings.Contains("done failed dead cancelled", fmt.Sprint(answer["state"])) {
		_, answer = ask(client, token, "GET", fmt.Sprintf("%s/%v?wait=30", url, accepted["id"]), nil)
		fmt.Printf("state: %v\n", answer["state"])
	}
	save(*o["result-out"], answer)
	if reason, ok := answer["error"].(object); ok || answer["state"] != "done" {
		fail("%v", reason["code"])
	}
}

func main() {
	o := map[string]*string{}
	for _, name := range strings.Fields("vectors queue tenant token-file ca-file signer-key device-key profile user " +
		"subject key job-out result-out") {
		o[name] = flag.String(name, "", "")
	}
	flag.Parse()
	if *o["vectors"] != "" {
		checkVectors(*o["vectors"])
	} else {
		produce(o)
	}
}
