// Verifies signed receipts with a JOSE library and the authority's certificate alone: nothing here comes from Isthmus.
// Options come as one JSON document on stdin: {"ca": PEM, "typ": text, "receipts": [compact JWS]}.
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { compactVerify, decodeProtectedHeader } from 'jose';

async function read(token, authority, typ) {
  const header = decodeProtectedHeader(token);
  if (header.typ !== typ) throw new Error(`typ is ${header.typ}`);
  const leaf = new X509Certificate(Buffer.from(header.x5c[0], 'base64'));
  // The key is believed because the authority signed the certificate it is in, and for no other reason.
  if (!leaf.verify(authority.publicKey)) throw new Error('the certificate is not by the authority');
  const thumbprint = createHash('sha256').update(leaf.raw).digest('base64url');
  if (header['x5t#S256'] !== thumbprint) throw new Error('x5t#S256 is of another certificate');
  const { payload } = await compactVerify(token, leaf.publicKey, { algorithms: ['ES256'] });
  return { signer: leaf.subjectAltName, payload: JSON.parse(new TextDecoder().decode(payload)) };
}

const options = JSON.parse(readFileSync(0, 'utf8'));
const authority = new X509Certificate(options.ca);
const results = [];
for (const token of options.receipts) {
  try {
    results.push(await read(token, authority, options.typ));
  } catch (error) {
    results.push({ refused: `${error.code ?? ''} ${error.message}`.trim() });
  }
}
console.log(JSON.stringify(results));
