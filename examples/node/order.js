#!/usr/bin/env node
// One order from the command line: see README.md.

import { parseArgs } from 'node:util';
import { makeOrder, publish } from './publisher.js';

const USAGE = `usage: node order.js --connector NAME --action ACTION [--percent N | --fixed N] [OPTIONS]

  --connector NAME            connectorName
  --action ACTION             buy, sell, openLong, closeLong, openShort, closeShort, cancel, cancelAll
  --percent N, --fixed N      how much
  --limit N, --profit N, --loss N
  --log TEXT, --client-order-id ID
  --delay-seconds N, --delay-seconds-filter TEXT
  --strategy NAME             whose order it is
  --message-id ID             to repeat an order that was not confirmed; default: a new one
  --wait SECONDS              wait for what becomes of it; default: until the broker has it
  --give-up SECONDS           for how long to try to reach the broker; default: 30

environment: SIGNALQ_BROKER__URL, SIGNALQ_BROKER__PREFIX as for signalq; CONNECTOR_TOKEN: the connectorToken
exit status: 0 delivered (without --wait: published), 1 not, or not known, 2 wrong usage

example: CONNECTOR_TOKEN=$(cat main-token) node order.js --connector main --action openLong --percent 50 --wait 10`;

// The fields of an intent, by their options.
const FIELDS = {
  connector: 'connectorName',
  action: 'action',
  percent: 'percent',
  fixed: 'fixed',
  limit: 'limit',
  profit: 'profit',
  loss: 'loss',
  log: 'log',
  'client-order-id': 'clientOrderId',
  'delay-seconds': 'delaySeconds',
  'delay-seconds-filter': 'delaySecondsFilter',
};
const OTHERS = ['strategy', 'message-id', 'wait', 'give-up'];

function readOptions() {
  const text = { type: 'string' };
  const options = { help: { type: 'boolean' } };
  for (const name of [...Object.keys(FIELDS), ...OTHERS]) options[name] = text;
  const { values } = parseArgs({ options });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  for (const name of ['connector', 'action']) {
    if (!values[name]) throw new Error(`--${name} is missing`);
  }
  for (const name of ['wait', 'give-up']) {
    if (values[name] !== undefined && !(Number(values[name]) > 0)) throw new Error(`--${name} takes seconds above 0`);
  }
  return values;
}

function intentOf(values) {
  const token = process.env.CONNECTOR_TOKEN;
  const intent = {};
  for (const [option, field] of Object.entries(FIELDS)) {
    if (values[option] !== undefined) intent[field] = values[option];
  }
  // Without one, signalq fills in the token of its settings.
  return token ? { ...intent, connectorToken: token } : intent;
}

async function main(values) {
  const order = makeOrder(intentOf(values), { strategy: values.strategy, messageId: values['message-id'] });
  const waitMs = Number(values.wait ?? 0) * 1000;
  const id = order.properties.messageId;
  try {
    const outcome = await publish(order, {
      url: process.env.SIGNALQ_BROKER__URL ?? 'amqp://guest:guest@127.0.0.1:5672/',
      prefix: process.env.SIGNALQ_BROKER__PREFIX,
      giveUpMs: Number(values['give-up'] ?? 30) * 1000,
      waitMs,
      say: (words) => console.error(words),
    });
    if (!waitMs) return 0;
    if (!outcome) {
      console.error(`no outcome yet: \`signalq orders show ${id}\` tells it later`);
      return 1;
    }
    if (outcome.status === 'dead') console.error(`why: \`signalq dead show ${id}\``);
    console.log(outcome.reason ? `${outcome.status}: ${outcome.reason}` : outcome.status);
    return outcome.status === 'delivered' ? 0 : 1;
  } catch (error) {
    console.error(`order.js: ${error.message}; its message_id is ${id}`);
    return 1;
  }
}

let values;
try {
  values = readOptions();
} catch (error) {
  console.error(`order.js: ${error.message}; node order.js --help tells the options.`);
  process.exit(2);
}
// Not only the exit code: a connection over a dead link would keep the program alive.
process.exit(await main(values));
