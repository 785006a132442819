/** `homeostat/instrument`: plain JavaScript with one peer, `@opentelemetry/api`; loads with `import` and with `require`. */
export { ConsistencySpanProcessor, withConsistency } from './consistency-context.mjs';
export { pgHooks } from './pg-hooks.mjs';
export { redisHooks, wrapRedis } from './redis-hooks.mjs';
export { wrapMysql } from './wrap-mysql.mjs';
export { wrapPg } from './wrap-pg.mjs';
