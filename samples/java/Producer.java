import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.cert.CertificateFactory;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * A producer in Java 17 (no libraries): makes one PKCS job, signs it, submits it, submits it again, and waits for the
 * end.  docs/protocol.md says what is done here; Document.java makes the job's bytes.
 * The signer's public key is read from KEY.pub beside the key.
 *
 * <pre>
 * usage: Producer --queue URL --tenant T --token-file F --ca-file PEM --signer-key PEM --device-key PEM
 *                 --profile P --user U --subject S --key IDEMPOTENCY-KEY [--job-out F] [--result-out F]
 *        Producer --vectors FILE
 * </pre>
 */
public final class Producer {
	private static final String JOB_TYPE = "application/vnd.certq.job.v1+protobuf";

	/** An error that is told in one line. */
	static final class Failure extends Exception {
		private static final long serialVersionUID = 1;

		Failure(String text) {
			super(text);
		}
	}

	// ---- keys and signatures

	/** Ed25519, or P-256; the other half of a pair is decoded in the same way. */
	record Signer(PrivateKey key, PublicKey publicKey) {
		static Signer of(byte[] pkcs8, byte[] spki) throws Exception {
			for (String algorithm : List.of("Ed25519", "EC")) {
				try {
					KeyFactory factory = KeyFactory.getInstance(algorithm);
					return new Signer(factory.generatePrivate(new PKCS8EncodedKeySpec(pkcs8)),
							factory.generatePublic(new X509EncodedKeySpec(spki)));
				} catch (InvalidKeySpecException e) {
					continue;
				}
			}
			throw new Failure("the signer's key is neither Ed25519 nor EC");
		}

		private Signature algorithm() throws Exception {
			return Signature.getInstance(key.getAlgorithm().equals("EC") ? "SHA256withECDSA" : "Ed25519");
		}

		byte[] sign(byte[] message) throws Exception {
			Signature signature = algorithm();
			signature.initSign(key);
			signature.update(message);
			return signature.sign();
		}

		boolean verifies(byte[] message, byte[] given) throws Exception {
			Signature signature = algorithm();
			if (key.getAlgorithm().equals("EdDSA") && given.length != 64) {
				return false; // the JDK takes a longer one, with zeros at its end
			}
			signature.initVerify(publicKey);
			signature.update(message);
			try {
				return signature.verify(given);
			} catch (SignatureException e) {
				return false; // not even of a signature's form
			}
		}
	}

	/** DSSE: what is signed is "DSSEv1" SP length(type) SP type SP length(body) SP body. */
	static byte[] pae(byte[] body) {
		ByteArrayOutputStream to = new ByteArrayOutputStream();
		String head = "DSSEv1 " + JOB_TYPE.length() + " " + JOB_TYPE + " " + body.length + " ";
		to.writeBytes(head.getBytes(StandardCharsets.US_ASCII));
		to.writeBytes(body);
		return to.toByteArray();
	}

	static byte[] sha256(byte[] data) throws Exception {
		return MessageDigest.getInstance("SHA-256").digest(data);
	}

	/** The JSON body of POST .../jobs. */
	static String envelope(Signer signer, byte[] body) throws Exception {
		Base64.Encoder base64 = Base64.getEncoder();
		return String.format("{\"document\":\"%s\",\"document_type\":\"%s\","
				+ "\"signatures\":[{\"key_id\":\"%s\",\"signature\":\"%s\"}]}",
				base64.encodeToString(body), JOB_TYPE, HexFormat.of().formatHex(sha256(signer.publicKey().getEncoded())),
				base64.encodeToString(signer.sign(pae(body))));
	}

	// ---- a job from beginning to end

	private static byte[] pem(String path) throws Exception {
		return Base64.getMimeDecoder().decode(Files.readString(Path.of(path)).replaceAll("-----[^-]+-----", ""));
	}

	private static HttpClient client(String caFile) throws Exception {
		KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
		roots.load(null, null);
		roots.setCertificateEntry("queue", CertificateFactory.getInstance("X.509")
				.generateCertificate(new ByteArrayInputStream(Files.readAllBytes(Path.of(caFile)))));
		TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		trust.init(roots);
		SSLContext tls = SSLContext.getInstance("TLS");
		tls.init(null, trust.getTrustManagers(), null);
		return HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(tls).build();
	}

	private static HttpResponse<String> ask(HttpClient client, String token, String url, String body) throws Exception {
		HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(90))
				.header("Authorization", "Bearer " + token).header("Content-Type", "application/json");
		HttpResponse<String> answer = client.send(
				(body == null ? request.GET() : request.POST(HttpRequest.BodyPublishers.ofString(body))).build(),
				HttpResponse.BodyHandlers.ofString());
		if (answer.statusCode() >= 300) { // problem+json: code is stable, detail is for people
			Map<?, ?> problem = Document.parse(answer.body());
			throw new Failure(answer.statusCode() + " " + problem.get("code") + ": " + problem.get("detail"));
		}
		return answer;
	}

	private static void produce(Map<String, String> o) throws Exception {
		Signer signer = Signer.of(pem(o.get("signer-key")), pem(o.get("signer-key") + ".pub"));
		HttpClient client = client(o.get("ca-file"));
		String token = Files.readString(Path.of(o.get("token-file"))).strip();
		String url = o.get("queue") + "/v1/tenants/" + o.get("tenant") + "/jobs";
		long now = Instant.now().getEpochSecond();
		Map<String, Object> issue = Map.of("holder", Map.of("user_id", o.get("user")),
				"device_key", Map.of("spki", Base64.getEncoder().encodeToString(pem(o.get("device-key")))),
				"ca_profile", o.get("profile"), "key_type", "rsa-2048", "subject", o.get("subject"));
		String job = envelope(signer, Document.encode("job", Map.of( // made once; sent again it must be the same bytes
				"version", 1L, "tenant", o.get("tenant"), "idempotency_key", o.get("key"), "not_before_s", now,
				"not_after_s", now + 86400, "issue", issue)));
		Files.writeString(Path.of(o.getOrDefault("job-out", "/dev/null")), job);
		HttpResponse<String> first = ask(client, token, url, job);
		Map<?, ?> accepted = Document.parse(first.body());
		System.out.println("submitted: " + first.statusCode() + " " + accepted.get("id") + " " + accepted.get("state"));
		HttpResponse<String> second = ask(client, token, url, job); // a repeat is harmless: 200, the same job
		System.out.println("again: " + second.statusCode() + " " + Document.parse(second.body()).get("id"));
		Map<?, ?> answer;
		String text;
		do {
			text = ask(client, token, url + "/" + accepted.get("id") + "?wait=30", null).body();
			answer = Document.parse(text);
			System.out.println("state: " + answer.get("state"));
		} while (!List.of("done", "failed", "dead", "cancelled").contains(answer.get("state")));
		Files.writeString(Path.of(o.getOrDefault("result-out", "/dev/null")), text);
		if (!"done".equals(answer.get("state"))) {
			throw new Failure(answer.get("error") instanceof Map<?, ?> e ? "" + e.get("code") : "" + answer.get("state"));
		}
	}

	public static void main(String[] args) throws Exception {
		Map<String, String> o = new HashMap<>();
		for (int i = 0; i + 1 < args.length; i += 2) {
			o.put(args[i].substring(2), args[i + 1]);
		}
		try {
			if (o.containsKey("vectors")) {
				Vectors.check(Files.readString(Path.of(o.get("vectors"))));
			} else {
				produce(o);
			}
		} catch (Failure failure) {
			System.err.println("error: " + failure.getMessage());
			System.exit(1);
		}
	}
}
