/*
 * Opens CMS with BouncyCastle and prints the content of each, one a line.
 * Usage: java OpenCms.java (CMS-FILE KEY-FILE PUBLIC-FILE)...   all keys in PEM, the private one in PKCS#8
 *
 * With a certificate as PUBLIC-FILE it is EnvelopedData (RFC 5652) for the recipient of that issuer and serial
 * number, with a public key AuthEnvelopedData (RFC 5083).
 *
 * The recipient is looked up by the identifier that BouncyCastle itself makes of the public key.  Its 1.72
 * has a recipient class for key transport but none for key agreement in this content type: there, agreement,
 * KDF and key unwrapping are BouncyCastle's, and only the AES-GCM of the content is put beside it here.
 */
import java.io.FileReader;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Key;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Security;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.cms.GCMParameters;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.KeyAgreeRecipientId;
import org.bouncycastle.cms.KeyTransRecipientId;
import org.bouncycastle.cms.Recipient;
import org.bouncycastle.cms.RecipientId;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.RecipientOperator;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.jcajce.io.CipherInputStream;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.operator.InputAEADDecryptor;

public class OpenCms {
    static final class Gcm implements InputAEADDecryptor {
        private final AlgorithmIdentifier algorithm;
        private final Cipher cipher;

        Gcm(AlgorithmIdentifier algorithm, Key key) throws GeneralSecurityException {
            GCMParameters p = GCMParameters.getInstance(algorithm.getParameters());
            this.algorithm = algorithm;
            cipher = Cipher.getInstance("AES/GCM/NoPadding", "BC");
            cipher.init(Cipher.DECRYPT_MODE, key, new GCMParameterSpec(8 * p.getIcvLen(), p.getNonce()));
        }

        public AlgorithmIdentifier getAlgorithmIdentifier() {
            return algorithm;
        }

        public InputStream getInputStream(InputStream sealed) {
            return new CipherInputStream(sealed, cipher);
        }

        public OutputStream getAADStream() {
            return new OutputStream() {
                @Override
                public void write(int b) {
                    cipher.updateAAD(new byte[] {(byte) b});
                }
            };
        }

        public byte[] getMAC() {
            return null; // the tag is at the end of what is decrypted
        }
    }

    static final class KeyAgreeAuthEnveloped extends JceKeyAgreeRecipient {
        KeyAgreeAuthEnveloped(PrivateKey key) {
            super(key);
        }

        public RecipientOperator getRecipientOperator(AlgorithmIdentifier wrap, AlgorithmIdentifier content,
                SubjectPublicKeyInfo sender, ASN1OctetString ukm, byte[] wrapped) throws CMSException {
            try {
                return new RecipientOperator(new Gcm(content, extractSecretKey(wrap, content, sender, ukm, wrapped)));
            } catch (GeneralSecurityException e) {
                throw new CMSException("AES-GCM: " + e.getMessage(), e);
            }
        }
    }

    static Object pem(String file) throws Exception {
        try (PEMParser parser = new PEMParser(new FileReader(file))) {
            return parser.readObject();
        }
    }

    static byte[] open(String file, String keyFile, String publicFile) throws Exception {
        JcaPEMKeyConverter converter = new JcaPEMKeyConverter().setProvider("BC");
        PrivateKey key = converter.getPrivateKey((PrivateKeyInfo) pem(keyFile));
        Object known = pem(publicFile);
        if (known instanceof X509CertificateHolder) {
            return openEnveloped(file, key, (X509CertificateHolder) known);
        }
        PublicKey half = converter.getPublicKey((SubjectPublicKeyInfo) known);
        byte[] identifier = new JcaX509ExtensionUtils().createSubjectKeyIdentifier(half).getKeyIdentifier();
        boolean rsa = key.getAlgorithm().equals("RSA");
        RecipientId id = rsa ? new KeyTransRecipientId(identifier) : new KeyAgreeRecipientId(identifier);
        Recipient recipient = rsa ? new JceKeyTransAuthEnvelopedRecipient(key).setProvider("BC")
                : new KeyAgreeAuthEnveloped(key).setProvider("BC");
        RecipientInformation found =
                new CMSAuthEnvelopedData(Files.readAllBytes(Path.of(file))).getRecipientInfos().get(id);
        if (found == null) {
            throw new CMSException(file + ": no recipient with this device's key identifier");
        }
        return found.getContent(recipient);
    }

    static byte[] openEnveloped(String file, PrivateKey key, X509CertificateHolder own) throws Exception {
        RecipientId id = new KeyTransRecipientId(own.getIssuer(), own.getSerialNumber());
        RecipientInformation found =
                new CMSEnvelopedData(Files.readAllBytes(Path.of(file))).getRecipientInfos().get(id);
        if (found == null) {
            throw new CMSException(file + ": no recipient with this device's issuer and serial number");
        }
        return found.getContent(new JceKeyTransEnvelopedRecipient(key).setProvider("BC"));
    }

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        for (int i = 0; i + 2 < args.length; i += 3) {
            System.out.println(new String(open(args[i], args[i + 1], args[i + 2]), StandardCharsets.UTF_8));
        }
    }
}
