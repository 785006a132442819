import { expect, it } from 'vitest';
import { listening, parseMetrics } from '../../../src/edge/web/figures.ts';

it('exporters are shown the port that is really listened on, and what it asks for', () => {
  const text = [
    '# HELP homeostat_ingest_port Where exporters are taken.',
    'homeostat_ingest_port{protocol="grpc",tls="false",token="false"} 38289',
    'homeostat_ingest_port{protocol="http",tls="false",token="true"} 39841',
    'homeostat_rows_scanned_total{collection="acc"} 80',
  ].join('\n');
  expect(listening(parseMetrics(text))).toEqual({ port: 39841, isTls: false, asksToken: true });
  // A process that receives nothing does not know where another one does.
  expect(listening(parseMetrics('up 1'))).toEqual({ isTls: false, asksToken: false });
});
