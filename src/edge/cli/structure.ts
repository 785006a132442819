import type { Command } from 'commander';
import { durationWords } from '../../detect/findings.ts';
import type { LearnedFact } from '../../domain/learned-fact.ts';
import { openClient, type ServiceOptions, withServiceOptions } from './client.ts';
import { table } from './print.ts';
import type { CliContext } from './program.ts';

export function registerStructure(program: Command, context: CliContext): void {
  withServiceOptions(program.command('structure')).action(async (options: ServiceOptions) => {
    const answer = (await openClient(options, context).get('/api/v1/structure')) as { readonly items: readonly LearnedFact[] };
    if (options.json === true) for (const fact of answer.items) context.out(JSON.stringify(fact));
    else context.out(describeStructure(answer.items));
  });
}

function describeStructure(facts: readonly LearnedFact[]): string {
  if (facts.length === 0) return 'Nothing learned yet: it takes a few traces of each kind. Declare what you know under detect.structure.';
  return [
    table(facts, [
      { head: 'WHAT', of: (fact) => fact.is },
      { head: 'NAME', of: (fact) => fact.name },
      { head: 'TRACES', of: (fact) => fact.support, isRight: true },
      { head: 'CONFIDENCE', of: (fact) => fact.confidence.toFixed(2), isRight: true },
      { head: 'FROM', of: (fact) => fact.from },
      { head: 'SAYS', of: factWords },
    ]),
    '',
    'Wrong? Set detect.structure in homeostat.yaml: outboxTables, notOutboxTables, inboxTables, replicaHosts, primaryHosts, topicLagMs, sagas, notSagas.',
  ].join('\n');
}

const verbs = { call: 'calls', send: 'sends to', take: 'is taken up by', write: 'writes' } as const;

function edgeWords(fact: LearnedFact): string {
  return fact.edge === undefined ? '' : `${fact.edge.from} ${verbs[fact.edge.by]} ${fact.edge.to}`;
}

/** What follows from a fact, in a few words. */
export function factWords(fact: LearnedFact): string {
  switch (fact.is) {
    case 'outbox':
      return 'its rows are messages to be sent';
    case 'replica-host':
      return 'read there, written elsewhere';
    case 'topic-lag':
      return `taken up within ${durationWords(fact.value)}`;
    case 'saga':
      return (fact.steps ?? []).join(', ');
    case 'edge':
      return edgeWords(fact);
  }
}
