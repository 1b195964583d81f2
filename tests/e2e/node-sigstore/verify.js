// Verifies inclusion proofs and the checkpoints they lead to with Sigstore's verifier: nothing here comes from Isthmus.
// One JSON document on stdin: {"origin", "keyId" (hex), "publicKey" (SPKI, base64), "checks": [{"index", "hashes"
// (base64), "entry" (base64), "checkpoint"}]}; one JSON list on stdout: {"size"} or {"refused"}.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import checkpoints from '@sigstore/verify/dist/tlog/checkpoint.js';
import merkle from '@sigstore/verify/dist/tlog/merkle.js';

const input = JSON.parse(readFileSync(0, 'utf8'));
const log = {
  baseURL: `https://${input.origin}`,
  logID: Buffer.from(input.keyId, 'hex'),
  publicKey: createPublicKey({ key: Buffer.from(input.publicKey, 'base64'), format: 'der', type: 'spki' }),
};

function verify({ index, hashes, entry, checkpoint }) {
  const inclusionProof = {
    logIndex: index,
    hashes: hashes.map((hash) => Buffer.from(hash, 'base64')),
    checkpoint: { envelope: checkpoint },
  };
  const found = { inclusionProof, canonicalizedBody: Buffer.from(entry, 'base64') };
  const vouched = checkpoints.verifyCheckpoint(found, [log]);
  merkle.verifyMerkleInclusion(found, vouched);
  return { size: Number(vouched.logSize) };
}

const results = input.checks.map((check) => {
  try {
    return verify(check);
  } catch (error) {
    return { refused: error.message };
  }
});
console.log(JSON.stringify(results));
