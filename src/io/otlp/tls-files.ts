import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Failure } from '../../base/failure.ts';

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

export interface TlsTexts extends TlsFiles {
  readonly validUntilMs: number;
  /** Names that the certificate is for, as written in it. */
  readonly names: string;
}

/** PEM texts of certificate and key. Throws `Failure('tls')` in one sentence where they cannot be read, or do not belong together. */
export function readTls(files: TlsFiles): TlsTexts {
  const cert = readPem(files.cert, 'certificate');
  const key = readPem(files.key, 'private key');
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (cause) {
    throw new Failure('tls', `${files.cert} holds no certificate in PEM; correct ingest.tls.cert`, 'never', cause);
  }
  let isPair: boolean;
  try {
    isPair = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new Failure('tls', `${files.key} holds no private key in PEM without a passphrase; correct ingest.tls.key`, 'never', cause);
  }
  if (!isPair) throw new Failure('tls', `${files.key} is not the key of ${files.cert}; name the two that belong together`, 'never');
  return { cert, key, validUntilMs: Date.parse(certificate.validTo), names: certificate.subjectAltName ?? certificate.subject };
}

function readPem(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Failure('tls', `the ${what} ${path} cannot be read; correct ingest.tls or the file's permissions`, 'never', cause);
  }
}
