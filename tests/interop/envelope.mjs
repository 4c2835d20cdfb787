// A second implementation of the envelope, written from docs/envelope.md alone.
//
// Reads a JSON list of requests on stdin and writes the list of answers on stdout:
//   {"do": "open", suite, text, seed, signer}                              -> {plaintext}
//   {"do": "seal", suite, plaintext, header, public, signing_seed}         -> {text}
// or {error} where it fails.
// Bytes are hex. It knows no trust list and no clock: those are the caller's.
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

const suiteOf = (name) =>
  new CipherSuite({ kem: SUITES[name].make(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const hex = (text) => Buffer.from(text, "hex");
const exact = (buffer) => new Uint8Array(buffer).buffer;
const thumbprint = (kind, raw) =>
  createHash("sha256").update(`sealwax key ${kind}\n`).update(raw).digest("hex").slice(0, 16);

function length(part) {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(part.length));
  return out;
}
const signed = (header, sealed) =>
  Buffer.concat([SIGNATURE, length(header), header, length(sealed), sealed]);

function decode(part) {
  const raw = Buffer.from(part, "base64url");
  if (raw.toString("base64url") !== part) throw new Error("envelope-malformed");
  return raw;
}

async function open({ text, seed, suite, signer }) {
  const parts = text.split(".");
  if (parts.length !== 4) throw new Error("envelope-malformed");
  if (parts[0] !== "swx1") throw new Error("version-unsupported");
  const [header, sealed, signature] = parts.slice(1).map(decode);
  const fields = JSON.parse(header.toString("ascii"));
  if (fields.sid !== thumbprint("ed25519", hex(signer))) throw new Error("unknown-signer");
  const key = createPublicKey({
    key: Buffer.concat([SPKI, hex(signer)]), format: "der", type: "spki",
  });
  if (!verify(null, signed(header, sealed), key, signature)) throw new Error("signature-invalid");
  if (fields.kem !== SUITES[suite].kem) throw new Error("unknown-key");
  const hpke = suiteOf(suite);
  const recipientKey = await hpke.kem.importKey("raw", exact(hex(seed)), false);
  const enc = sealed.subarray(0, SUITES[suite].enc);
  const plaintext = await hpke.open(
    { recipientKey, enc: exact(enc), info: exact(Buffer.concat([INFO, header])) },
    exact(sealed.subarray(SUITES[suite].enc)),
  );
  return { plaintext: Buffer.from(plaintext).toString("hex") };
}

async function seal({ plaintext, header, public: publicKey, suite, signing_seed: seed }) {
  const hpke = suiteOf(suite);
  const signingKey = createPrivateKey({
    key: Buffer.concat([PKCS8, hex(seed)]), format: "der", type: "pkcs8",
  });
  const raw = createPublicKey(signingKey).export({ format: "der", type: "spki" }).subarray(-32);
  const all = {
    ...header, v: 1, kem: SUITES[suite].kem, kdf: 1, aead: 2,
    kid: thumbprint(suite, hex(publicKey)), sid: thumbprint("ed25519", raw),
  };
  // JSON.stringify with a sorted list of names gives the canonical form.
  const bytes = Buffer.from(JSON.stringify(all, Object.keys(all).sort()), "ascii");
  const recipientPublicKey = await hpke.kem.importKey("raw", exact(hex(publicKey)), true);
  const { enc, ct } = await hpke.seal(
    { recipientPublicKey, info: exact(Buffer.concat([INFO, bytes])) }, exact(hex(plaintext)),
  );
  const sealed = Buffer.concat([Buffer.from(enc), Buffer.from(ct)]);
  const signature = sign(null, signed(bytes, sealed), signingKey);
  return { text: ["swx1", ...[bytes, sealed, signature].map((p) => p.toString("base64url"))].join(".") };
}

let input = "";
for await (const chunk of process.stdin) input += chunk;
const answers = [];
for (const request of JSON.parse(input)) {
  try {
    answers.push(await (request.do === "open" ? open(request) : seal(request)));
  } catch (error) {
    answers.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(answers));
