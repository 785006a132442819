'use strict';
// What the OpenTelemetry documentation says to put before an application; WITH_HELPER adds the one line of homeostat/instrument.
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { PgInstrumentation } = require('@opentelemetry/instrumentation-pg');

const tables = { accounts: { type: 'account', key: 'id', version: 'version', baseFromRead: true } };
const hooks = process.env.WITH_HELPER === '1' ? require('homeostat/instrument').pgHooks(tables) : {};
const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation(), new PgInstrumentation(hooks)] });
sdk.start();
process.on('SIGTERM', () => void sdk.shutdown());
