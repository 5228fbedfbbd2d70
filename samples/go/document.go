// JobDocument as protobuf without a library, and the check of it, and of the signatures, against the golden vectors.
package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// proto/certq/v1/job.proto: "name:number:type"; a type is int, text, bytes, or the name of an enum or a message here.
var messages = map[string]string{
	"job": "version:1:int tenant:2:text audience:3:text idempotency_key:4:text not_before_s:5:int not_after_s:6:int " +
		"correlation_id:7:text issue:10:issue rewrap:11:rewrap revoke:12:revoke chain:13:chain",
	"holder":     "user_id:1:text upn:2:text email:3:text sid:4:text device_id:5:text",
	"device_key": "spki:1:bytes certificate_chain:2:bytes seal:3:Seal",
	"san":        "type:1:Alt value:2:text",
	"issue": "holder:1:holder device_key:2:device_key ca_profile:3:text key_type:4:Key subject:5:text san:6:san " +
		"sid_form:7:Sid eku:8:text key_usage:9:int validity_s:10:int smime_capabilities:11:int " +
		"pfx_profile:12:Pfx renew_percent:13:int template:14:text",
	"password": "key_id:1:bytes sha256:2:bytes",
	"rewrap": "holder:1:holder device_key:2:device_key record_id:3:text purpose:4:text pfx_sha256:5:bytes " +
		"padding:6:Padding binding:7:int passwords:8:password",
	"revoke": "ca_profile:1:text issuer:2:bytes serial:3:bytes reason:4:int",
	"chain":  "ca_profile:1:text",
}
var enums = map[string]map[string]uint64{
	"Seal":    {"cms-auth": 1, "oaep-sha256": 2, "windows": 3},
	"Pfx":     {"modern": 1, "compat": 2},
	"Key":     {"rsa-2048": 1, "rsa-3072": 2, "rsa-4096": 3, "ec-p256": 4, "ec-p384": 5},
	"Sid":     {"none": 0, "extension": 1, "uri": 2},
	"Alt":     {"email": 1, "dns": 2, "uri": 3, "ip": 4, "upn": 5},
	"Padding": {"oaep-sha256": 3, "oaep-sha384": 4, "oaep-sha512": 5},
}

func field(number uint64, kind string, value any) []byte {
	var data []byte
	switch v := value.(type) {
	case bool: // only true is written
		return binary.AppendUvarint(binary.AppendUvarint(nil, number<<3), 1)
	case float64:
		return binary.AppendUvarint(binary.AppendUvarint(nil, number<<3), uint64(v))
	case string:
		if values, ok := enums[kind]; ok {
			return binary.AppendUvarint(binary.AppendUvarint(nil, number<<3), values[v])
		}
		data = []byte(v)
		if kind == "bytes" {
			data = unbase64(v)
		}
	case object:
		data = encode(kind, v)
	}
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, number<<3|2), uint64(len(data))), data...)
}

// Fields ascending; a default value (0, false, "") is not written, a message and a list's item always is.
func encode(message string, values object) []byte {
	var out []byte
	for _, row := range strings.Fields(messages[message]) {
		var number uint64
		part := strings.Split(row, ":")
		fmt.Sscan(part[1], &number)
		switch v := values[part[0]].(type) {
		case []any:
			for _, item := range v {
				out = append(out, field(number, part[2], item)...)
			}
		default:
			if v != nil && v != "" && v != 0.0 && v != false {
				out = append(out, field(number, part[2], v)...)
			}
		}
	}
	return out
}

// The golden vectors, proto/vectors/jobs.json.
func checkVectors(path string) {
	var file struct {
		Signers map[string]struct {
			PrivateKey string `json:"private_key"`
		}
		Jobs, Refused []struct {
			Name, Signer   string
			Job            object
			JobID          string `json:"job_id"`
			Submit         object
			SignatureValid bool `json:"signature_valid"`
		}
	}
	must(0, json.Unmarshal(must(os.ReadFile(path)), &file))
	for _, v := range append(file.Jobs, file.Refused...) {
		key := must(x509.ParsePKCS8PrivateKey(unbase64(file.Signers[v.Signer].PrivateKey))).(crypto.Signer)
		body, given := unbase64(v.Submit["document"]), v.Submit["signatures"].([]any)[0].(object)
		if verifies(key.Public(), pae(body), unbase64(given["signature"])) != v.SignatureValid {
			fail("%s: signature", v.Name)
		}
		if v.Job == nil {
			continue
		}
		made := envelope(key, encode("job", v.Job))
		one := made["signatures"].([]any)[0].(object)
		_, ed := key.(ed25519.PrivateKey)
		if made["document"] != v.Submit["document"] || one["key_id"] != given["key_id"] ||
			(ed && one["signature"] != given["signature"]) ||
			jobID(v.Job["tenant"].(string), v.Job["idempotency_key"].(string)) != v.JobID {
			fail("%s: other bytes, key id, signature or job id", v.Name)
		}
	}
	fmt.Printf("vectors: %d jobs and %d refused agree\n", len(file.Jobs), len(file.Refused))
}
