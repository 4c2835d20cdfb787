// A second implementation of the envelope, written from docs/envelope.md alone.
//
// Reads a JSON list of requests on stdin and writes the list of answers on stdout:
//   {"do": "open", text, documents, expect, now}                    -> {plaintext}
//   {"do": "seal", suite, plaintext, header, public, signing_seed}  -> {text}
//   {"do": "check", kind, text, public}  (a signed statement)      -> {signer}
// or {error}: the cause, with the field that differs after a colon. Bytes are hex;
// `documents` are the opener's private key document and the shared one.
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";
import { createHash, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";

const SUITES = {
  "x-wing": { kem: 0x647a, make: () => new XWing(), enc: 1120 },
  x25519: { kem: 0x0020, make: () => new DhkemX25519HkdfSha256(), enc: 32 },
};
const INFO = Buffer.from("sealwax envelope v1 info\0");
const SIGNATURE = Buffer.from("sealwax envelope v1 signature\0");
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex"); // RFC 8410, Ed25519
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

const MAX_TEXT = 64 * 1024 * 1024;
const MAX_HEADER = 4096;
const MAX_TIME = 253402300799;
const within = (least, most) => (value) =>
  Number.isInteger(value) && value >= least && value <= most;
const text = (pattern) => (value) => typeof value === "string" && pattern.test(value);
const FIELDS = {
  v: Number.isInteger, kem: Number.isInteger, kdf: Number.isInteger, aead: Number.isInteger,
  kid: text(/^[0-9a-f]{16}$/), sid: text(/^[0-9a-f]{16}$/),
  purpose: text(/^(job|result|reveal)$/), task: text(/^[a-z][a-z0-9_.]{0,99}$/),
  job: text(/^[0-9a-f]{32}$/), tenant: text(/^[0-9a-f]{16,64}$/),
  contract: within(1, 1_000_000), iat: within(0, MAX_TIME), exp: within(0, MAX_TIME),
};

const hex = (digits) => Buffer.from(digits, "hex");
const exact = (buffer) => new Uint8Array(buffer).buffer;
const hpkeOf = (name) =>
  new CipherSuite({ kem: SUITES[name].make(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const thumbprint = (kind, raw) =>
  createHash("sha256").update(`sealwax key ${kind}\n`).update(raw).digest("hex").slice(0, 16);
// JSON.stringify with a sorted list of names gives the canonical form.
const canonical = (fields) => Buffer.from(JSON.stringify(fields, Object.keys(fields).sort()));
const ed25519Public = (raw) =>
  createPublicKey({ key: Buffer.concat([SPKI, raw]), format: "der", type: "spki" });
const ed25519Private = (seed) =>
  createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });
const rawPublic = (key) =>
  createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);

class Refused extends Error {}
function check(condition, cause) {
  if (!condition) throw new Refused(cause);
}

function signed(header, sealed) {
  const length = (part) => {
    const out = Buffer.alloc(8);
    out.writeBigUInt64BE(BigInt(part.length));
    return out;
  };
  return Buffer.concat([SIGNATURE, length(header), header, length(sealed), sealed]);
}

function decodePart(part) {
  const raw = Buffer.from(part, "base64url");
  check(raw.toString("base64url") === part, "envelope-malformed");
  return raw;
}

function parseHeader(raw) {
  let fields;
  try {
    fields = JSON.parse(raw.toString("latin1"));
  } catch {
    throw new Refused("envelope-malformed");
  }
  check(fields !== null && typeof fields === "object", "envelope-malformed");
  check(
    Object.keys(fields).sort().join() === Object.keys(FIELDS).sort().join(), "envelope-malformed",
  );
  for (const name of ["v", "kem", "kdf", "aead"])
    check(FIELDS[name](fields[name]), "envelope-malformed");
  check(fields.v === 1, "version-unsupported");
  const suite = Object.keys(SUITES).find((name) => SUITES[name].kem === fields.kem);
  check(suite && fields.kdf === 1 && fields.aead === 2, "version-unsupported");
  for (const [name, fits] of Object.entries(FIELDS))
    check(fits(fields[name]), "envelope-malformed");
  check(canonical(fields).equals(raw), "envelope-malformed");
  return { fields, suite };
}

// Trust patterns: `*`, `?` and `[…]` as in a shell, letter case counts.
const pattern = (glob) =>
  new RegExp(`^${glob.replace(/[.+^${}()|\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".")
    .replace(/\[!/g, "[^")}$`, "s");

async function open({ text: envelope, documents, expect, now }) {
  const keys = JSON.parse(documents["worker/keys"]);
  const shared = JSON.parse(documents["shared/keyring"]);
  // 1 and 2: form, version, suite
  check(envelope.length <= MAX_TEXT, "envelope-malformed");
  const [version, ...parts] = envelope.split(".");
  if (version !== "swx1")
    throw new Refused(/^swx[0-9]{1,4}$/.test(version) ? "version-unsupported" : "envelope-malformed");
  check(parts.length === 3, "envelope-malformed");
  const [header, sealed, signature] = parts.map(decodePart);
  check(header.length <= MAX_HEADER && signature.length === 64, "envelope-malformed");
  check(sealed.length > 0, "envelope-malformed");
  const { fields, suite } = parseHeader(header);
  // 3 to 5: signer, signature, trust
  const signer = shared.signers.find((row) => row.id === fields.sid);
  if (!signer)
    throw new Refused(shared.retired.includes(fields.sid) ? "key-retired" : "unknown-signer");
  const verifier = ed25519Public(hex(signer.public));
  check(verify(null, signed(header, sealed), verifier, signature), "signature-invalid");
  check(
    signer.purposes.includes(fields.purpose) &&
      signer.tasks.some((glob) => pattern(glob).test(fields.task)) &&
      (signer.tenants.includes("*") || signer.tenants.includes(fields.tenant)),
    "signer-not-trusted",
  );
  // 6 and 7: context, not-after
  for (const name of ["purpose", "task", "job", "tenant"])
    check(expect[name] === fields[name], `context-mismatch:${name}`);
  check(now <= fields.exp, "envelope-expired");
  // 8 and 9: key, ciphertext. The library does not derive a public key from an X-Wing
  // seed, so ids come from the shared document: right for one key a suite.
  for (const row of keys.hpke) {
    const hpke = hpkeOf(row.suite);
    const recipientKey = await hpke.kem.importKey("raw", exact(hex(row.seed)), false);
    const listed = shared.recipients.find((r) => r.id === fields.kid && r.suite === row.suite);
    if (!listed || thumbprint(row.suite, hex(listed.public)) !== fields.kid) continue;
    check(row.suite === suite, "envelope-malformed");
    try {
      const { enc } = SUITES[suite];
      const plaintext = await hpke.open(
        {
          recipientKey,
          enc: exact(sealed.subarray(0, enc)),
          info: exact(Buffer.concat([INFO, header])),
        },
        exact(sealed.subarray(enc)),
      );
      return { plaintext: Buffer.from(plaintext).toString("hex") };
    } catch {
      throw new Refused("decryption-failed");
    }
  }
  throw new Refused(shared.retired.includes(fields.kid) ? "key-retired" : "unknown-key");
}

async function seal({ plaintext, header, public: publicKey, suite, signing_seed: seed }) {
  const hpke = hpkeOf(suite);
  const signingKey = ed25519Private(hex(seed));
  const fields = {
    ...header, v: 1, kem: SUITES[suite].kem, kdf: 1, aead: 2,
    kid: thumbprint(suite, hex(publicKey)), sid: thumbprint("ed25519", rawPublic(signingKey)),
  };
  const bytes = canonical(fields);
  const recipientPublicKey = await hpke.kem.importKey("raw", exact(hex(publicKey)), true);
  const { enc, ct } = await hpke.seal(
    { recipientPublicKey, info: exact(Buffer.concat([INFO, bytes])) }, exact(hex(plaintext)),
  );
  const sealed = Buffer.concat([Buffer.from(enc), Buffer.from(ct)]);
  const signature = sign(null, signed(bytes, sealed), signingKey);
  const parts = [bytes, sealed, signature].map((part) => part.toString("base64url"));
  return { text: ["swx1", ...parts].join(".") };
}

const MAX_INTEGER = 2 ** 53 - 1;
const short = (value) => typeof value === "string" && value.length <= 4096;
const allowed = (value) =>
  value === null || typeof value === "boolean" || short(value) ||
  (Number.isInteger(value) && Math.abs(value) <= MAX_INTEGER) ||
  (Array.isArray(value) && value.length <= 16 && value.every(short));
// JSON.stringify escapes less than ASCII asks for.
const ascii = (json) =>
  json.replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

function checkStatement({ kind, text: said, public: raw }) {
  const { sig, ...fields } = JSON.parse(said);
  const malformed = (condition) => check(condition, "envelope-malformed");
  malformed(text(/^[0-9a-f]{128}$/)(sig) && text(/^[0-9a-f]{16}$/)(fields.sid));
  malformed(Object.keys(fields).length < 32);
  for (const [name, value] of Object.entries(fields))
    malformed(/^[a-z][a-z0-9_-]{0,31}$/.test(name) && allowed(value));
  const canonicalText = ascii(JSON.stringify(fields, Object.keys(fields).sort()));
  malformed(canonicalText.length <= 16384);
  check(fields.sid === thumbprint("ed25519", hex(raw)), "unknown-signer");
  const message = Buffer.from(`sealwax statement v1 ${kind}\0${canonicalText}`);
  check(verify(null, message, ed25519Public(hex(raw)), hex(sig)), "signature-invalid");
  return { signer: fields.sid };
}

const ACTIONS = { open, seal, check: checkStatement };
let input = "";
for await (const chunk of process.stdin) input += chunk;
const answers = [];
for (const request of JSON.parse(input)) {
  try {
    answers.push(await ACTIONS[request.do](request));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    answers.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(answers));
