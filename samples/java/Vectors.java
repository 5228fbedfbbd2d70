import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/** The golden vectors, proto/vectors/jobs.json: the same bytes, signatures, key ids and job ids, or a failure. */
final class Vectors {
	private Vectors() {
	}

	private static String jobId(String tenant, String idempotencyKey) throws Exception {
		ByteArrayOutputStream items = new ByteArrayOutputStream();
		DataOutputStream to = new DataOutputStream(items);
		for (String item : List.of("certq-job-v1", tenant, idempotencyKey)) {
			to.writeInt(item.getBytes(StandardCharsets.UTF_8).length);
			to.write(item.getBytes(StandardCharsets.UTF_8));
		}
		byte[] digest = Producer.sha256(items.toByteArray());
		StringBuilder id = new StringBuilder("job_"); // base32, which the JDK has not: 5 bits a letter, 26 for 16 bytes
		for (int bit = 0; bit < 128; bit += 5) {
			int two = (digest[bit / 8] & 0xff) << 8 | (bit < 120 ? digest[bit / 8 + 1] & 0xff : 0);
			id.append("abcdefghijklmnopqrstuvwxyz234567".charAt(two >> (11 - bit % 8) & 31));
		}
		return id.toString();
	}

	private static void check(boolean good, Map<?, ?> vector, String what) throws Producer.Failure {
		if (!good) {
			throw new Producer.Failure(vector.get("name") + ": " + what);
		}
	}

	/** The golden signature is there for all; an ECDSA one differs each time it is made. */
	private static void checkJob(Producer.Signer signer, Map<?, ?> vector, Map<?, ?> job) throws Exception {
		Map<?, ?> given = (Map<?, ?>) vector.get("submit");
		Map<?, ?> made = Document.parse(Producer.envelope(signer, Document.encode("job", job)));
		check(made.get("document").equals(given.get("document")), vector, "other bytes");
		check(signature(made).get("key_id").equals(signature(given).get("key_id")), vector, "key id");
		check(signer.key().getAlgorithm().equals("EC") || signature(made).equals(signature(given)), vector,
				"signature is not the same");
		String id = jobId((String) job.get("tenant"), (String) job.get("idempotency_key"));
		check(id.equals(vector.get("job_id")), vector, "job id");
	}

	private static Map<?, ?> signature(Map<?, ?> submit) {
		return (Map<?, ?>) ((List<?>) submit.get("signatures")).get(0);
	}

	private static int check(Map<?, ?> signers, List<?> vectors) throws Exception {
		Base64.Decoder base64 = Base64.getDecoder();
		for (Object one : vectors) {
			Map<?, ?> vector = (Map<?, ?>) one;
			Map<?, ?> keys = (Map<?, ?>) signers.get(vector.get("signer"));
			Map<?, ?> submit = (Map<?, ?>) vector.get("submit");
			Producer.Signer signer = Producer.Signer.of(base64.decode((String) keys.get("private_key")),
					base64.decode((String) keys.get("spki")));
			boolean valid = signer.verifies(Producer.pae(base64.decode((String) submit.get("document"))),
					base64.decode((String) signature(submit).get("signature")));
			check(vector.get("signature_valid").equals(valid), vector, "signature");
			if (vector.get("job") instanceof Map<?, ?> job) {
				checkJob(signer, vector, job);
			}
		}
		return vectors.size();
	}

	static void check(String text) throws Exception {
		Map<?, ?> file = Document.parse(text);
		Map<?, ?> signers = (Map<?, ?>) file.get("signers");
		System.out.printf("vectors: %d jobs and %d refused agree%n", check(signers, (List<?>) file.get("jobs")),
				check(signers, (List<?>) file.get("refused")));
	}
}
