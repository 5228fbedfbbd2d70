# Real PFX files of five different makers, each with an S/MIME key and certificate of its own making.
# Sourced, with `top` set.  made_by_MAKER TYPE CIPHER NAME leaves NAME.pfx and NAME.pem in the current folder,
# where the file `password` holds PFX_PASSWORD.  TYPE is rsa-2048 or ec-p256, CIPHER aes, 3des or rc2.

PFX_MAKERS=(openssl certtool pk12util keytool python3-cryptography)
PFX_PASSWORD='Summer2026!'
# a Java program leaves a folder in /tmp otherwise
export JAVA_TOOL_OPTIONS=-XX:-UsePerfData

pfx_maker_is_there() { # MAKER
	case $1 in
	python3-cryptography) /usr/bin/python3 -c 'import cryptography' 2>/dev/null ;;
	pk12util) command -v pk12util >/dev/null && command -v certutil >/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

made_by_openssl() {
	local key=(-newkey rsa:2048) how=()
	[ "$1" = rsa-2048 ] || key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
	case $2 in
	3des) how=(-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1) ;;
	rc2) how=(-legacy) ;;
	esac
	openssl req -x509 "${key[@]}" -nodes -days 365 -subj "/CN=$3" -sha256 \
		-addext "subjectAltName=email:$3@contoso.com" -addext extendedKeyUsage=emailProtection \
		-keyout "$3.key" -out "$3.pem" &&
		openssl pkcs12 -export ${how[@]+"${how[@]}"} -inkey "$3.key" -in "$3.pem" -name "$3" \
			-passout file:password -out "$3.pfx"
}

made_by_certtool() {
	local key=(--key-type rsa --bits 2048) cipher=aes-256
	[ "$1" = rsa-2048 ] || key=(--key-type ecdsa --curve secp256r1)
	case $2 in
	3des) cipher=3des-pkcs12 ;;
	rc2) cipher=rc2-40 ;;
	esac
	printf '%s\n' "cn = $3" "email = $3@contoso.com" 'expiration_days = 365' email_protection_key \
		signing_key >"$3.template"
	certtool --generate-privkey "${key[@]}" --outfile "$3.key" &&
		certtool --generate-self-signed --load-privkey "$3.key" --template "$3.template" --outfile "$3.pem" &&
		certtool --to-p12 --load-privkey "$3.key" --load-certificate "$3.pem" --p12-name "$3" \
			--pkcs-cipher "$cipher" --password "$PFX_PASSWORD" --outder --outfile "$3.pfx"
}

made_by_pk12util() {
	local key=(-k rsa -g 2048) how=() rc2 triple
	rc2="PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC"
	triple="PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC"
	[ "$1" = rsa-2048 ] || key=(-k ec -q nistp256)
	case $2 in
	3des) how=(-c "$triple" -C "$triple") ;;
	rc2) how=(-c "$triple" -C "$rc2") ;;
	esac
	mkdir "$3.nss"
	head -c 64 /dev/urandom >"$3.noise"
	certutil -N -d "sql:$3.nss" --empty-password &&
		certutil -S -x -d "sql:$3.nss" -n "$3" -s "CN=$3" -t ,, "${key[@]}" -z "$3.noise" -v 12 \
			-7 "$3@contoso.com" --extKeyUsage emailProtection &&
		certutil -L -d "sql:$3.nss" -n "$3" -a >"$3.pem" &&
		pk12util -o "$3.pfx" ${how[@]+"${how[@]}"} -n "$3" -d "sql:$3.nss" -w password
}

made_by_keytool() {
	local key=(-keyalg RSA -keysize 2048) how=(-J-XX:TieredStopAtLevel=1) set=-J-Dkeystore.pkcs12
	[ "$1" = rsa-2048 ] || key=(-keyalg EC -groupname secp256r1)
	case $2 in
	3des) how+=("$set.certProtectionAlgorithm=PBEWithSHA1AndDESede" "$set.macAlgorithm=HmacPBESHA1"
		"$set.keyProtectionAlgorithm=PBEWithSHA1AndDESede") ;;
	rc2) how+=("$set.legacy") ;;
	esac
	keytool "${how[@]}" -genkeypair "${key[@]}" -dname "CN=$3" -ext "san=email:$3@contoso.com" \
		-ext eku=emailProtection -validity 365 -alias "$3" -keystore "$3.pfx" -storetype PKCS12 \
		-storepass:file password &&
		keytool "${how[@]}" -exportcert -rfc -alias "$3" -keystore "$3.pfx" -storepass:file password \
			-file "$3.pem"
}

made_by_python3-cryptography() {
	/usr/bin/python3 "$top/tests/peers/make_pfx.py" "$1" "$2" "$3" password "$3.pfx" "$3.pem"
}
