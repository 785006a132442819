import { trace } from '@opentelemetry/api';
import { commandFacts, keyPlans, replyAttributes } from './redis-plan.mjs';

/** @type {import('./instrument.d.mts').redisHooks} */
export function redisHooks(objects) {
  const plans = keyPlans(objects);
  const pending = new WeakMap();
  return {
    requestHook: (span, { cmdName, cmdArgs }) => {
      const facts = commandFacts(plans, cmdName, cmdArgs);
      if (facts === null) return;
      span.setAttributes(facts.attributes);
      pending.set(span, facts);
    },
    responseHook: (span, _name, _args, reply) => {
      const facts = pending.get(span);
      if (facts !== undefined) span.setAttributes(replyAttributes(facts, reply));
    },
  };
}

const wrapped = new WeakSet();
let commands = 0;

/** @type {import('./instrument.d.mts').wrapRedis} */
export function wrapRedis(redis, objects) {
  if (wrapped.has(redis)) return redis;
  wrapped.add(redis);
  const plans = keyPlans(objects);
  const sendCommand = redis.sendCommand;
  redis.sendCommand = function observedCommand(command, ...rest) {
    const span = trace.getActiveSpan();
    const facts = span === undefined ? null : commandFacts(plans, command.name, command.args);
    const answer = sendCommand.call(this, command, ...rest);
    if (facts === null) return answer;
    commands += 1;
    const id = `${span.spanContext().spanId}-r${commands}`;
    // A command that failed did nothing that could be told; its promise is the caller's to handle.
    command.promise.then(
      (reply) => {
        const target = span.isRecording() ? span : trace.getActiveSpan();
        target?.addEvent('consistency.operation', { ...facts.attributes, ...replyAttributes(facts, reply), 'consistency.transaction.id': id });
      },
      () => undefined,
    );
    return answer;
  };
  return redis;
}
