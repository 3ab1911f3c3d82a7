// Publishing an order so that it is never lost and never doubled: the five rules of docs/intent.md, in Node.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';

// For one connection: to open it, and to get the order confirmed over it.
const ATTEMPT_TIMEOUT_MS = 5_000;
const FIRST_PAUSE_MS = 200;
const PAUSE_MAX_MS = 5_000;
// So that a broker that went away without a word is noticed within 20 s.
const HEARTBEAT_S = 10;

/** No queue takes it, or the broker refuses: trying again would change nothing. */
export class Refused extends Error {}

/** No confirm came in time. The order may lie in a queue: only the same one, with the same id, may be sent again. */
export class Unconfirmed extends Error {}

/**
 * An order, once and for all: its bytes, its id and its date stay the same through every attempt.
 *
 * Throws a TypeError where a field has no value: a price that is NaN must not become an order without one.
 */
export function makeOrder(intent, { strategy, messageId = randomUUID() } = {}) {
  return {
    connector: intent.connectorName,
    body: Buffer.from(JSON.stringify(intent, withValue)),
    properties: {
      messageId,
      appId: strategy,
      contentType: 'application/json',
      persistent: true,
      mandatory: true,
      headers: { 'signalq-created-ms': Date.now() },
    },
  };
}

/** JSON has no NaN: without this, JSON.stringify writes null for it, and leaves out what is undefined. */
function withValue(field, value) {
  if (value === null || value === undefined || (typeof value === 'number' && !Number.isFinite(value))) {
    throw new TypeError(`${field} has no value: leave the field out where none is meant`);
  }
  return value;
}

/**
 * Publish it, on as many connections as it takes within `giveUpMs`, and return once the broker has confirmed it.
 *
 * With `waitMs`, wait for what becomes of it, and return that event, or null where none came in time. If the connection
 * is lost meanwhile, the order is published again: signalq answers a duplicate with the outcome of the first.
 */
export async function publish(order, { url, prefix = 'signalq', giveUpMs = 30_000, waitMs = 0, say = () => {} }) {
  const giveUpAt = Date.now() + giveUpMs;
  const progress = { confirmed: false, waitUntil: null };
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS)) {
    try {
      return await attempt(order, { url, prefix, waitMs, say, progress });
    } catch (error) {
      if (error instanceof Refused) throw error;
      const until = progress.confirmed ? progress.waitUntil : giveUpAt;
      if (Date.now() + pauseMs > until) {
        if (progress.confirmed) return null;
        throw new Unconfirmed(`the broker did not confirm within ${giveUpMs / 1000} s (${error.message})`);
      }
      say(`trying again with the same message_id: ${error.message}`);
      await sleep(pauseMs);
    }
  }
}

async function attempt(order, { url, prefix, waitMs, say, progress }) {
  const connection = await connect(url);
  const properties = { ...order.properties, userId: userOf(order, url) };
  const lost = new Promise((_resolve, reject) => {
    connection.on('error', reject);
    connection.on('close', () => reject(new Error('the connection was lost')));
  });
  lost.catch(() => {});
  try {
    // Bound before the order is published, so that its outcome can't be missed.
    const outcome = waitMs ? await within(ATTEMPT_TIMEOUT_MS, [listen(connection, order, prefix), lost]) : null;
    await within(ATTEMPT_TIMEOUT_MS, [send(connection, { ...order, properties }, prefix), lost]);
    if (!progress.confirmed) say(`the broker has it: ${order.properties.messageId}`);
    progress.confirmed = true;
    progress.waitUntil ??= Date.now() + waitMs;
    if (!outcome) return null;
    return await Promise.race([outcome.event, lost, sleep(progress.waitUntil - Date.now(), null, { ref: false })]);
  } finally {
    // Not awaited: over a dead link this would never end. The heartbeat ends it then.
    connection.close().catch(() => {});
  }
}

async function connect(url) {
  const address = new URL(url);
  address.searchParams.set('heartbeat', String(HEARTBEAT_S));
  try {
    return await within(ATTEMPT_TIMEOUT_MS, [amqplib.connect(address.href, { timeout: ATTEMPT_TIMEOUT_MS })]);
  } catch (error) {
    throw final(error);
  }
}

/** Publish on a confirming channel. A returned message is told of before its confirm, so at the confirm we know. */
async function send(connection, order, prefix) {
  const channel = await connection.createConfirmChannel();
  let returned = false;
  channel.on('return', () => { returned = true; });
  await new Promise((resolve, reject) => {
    channel.on('error', (error) => reject(final(error)));
    channel.publish(`${prefix}.orders`, order.connector, order.body, order.properties, (error) => {
      if (error) reject(error);
      else if (returned) reject(new Refused('no queue takes it: `signalq topology apply` makes them'));
      else resolve();
    });
  });
}

/** Returned as an object: a promise that an async function returns would be awaited there and then. */
async function listen(connection, order, prefix) {
  const channel = await connection.createChannel();
  let hear;
  const event = new Promise((resolve, reject) => {
    hear = (message) => {
      const said = message && JSON.parse(message.content);
      // `duplicate` is the ending of a second publish, and says nothing about the order.
      if (said?.intent_id === order.properties.messageId && said.status !== 'duplicate') resolve(said);
    };
    channel.on('error', (error) => reject(final(error)));
  });
  event.catch(() => {});
  const name = `${prefix}.outcomes.${randomUUID()}`;
  const declared = (async () => {
    const { queue } = await channel.assertQueue(name, { exclusive: true, autoDelete: true, durable: false });
    await channel.bindQueue(queue, `${prefix}.outcomes`, `${word(order.connector)}.*.*`);
    await channel.consume(queue, hear, { noAck: true });
  })();
  // Where the broker refuses, it is the channel that says why.
  await Promise.race([declared, event]);
  return { event };
}

/** By this, which the broker checks, a strategy with a user of its own is known. */
function userOf(order, url) {
  return order.properties.appId ? decodeURIComponent(new URL(url).username) || 'guest' : undefined;
}

/** A name as the routing keys of outcomes have it. */
function word(name) {
  return [...name].slice(0, 128).join('').replace(/[^A-Za-z0-9_-]/gu, '_');
}

/** What the broker refuses (a wrong password, a missing right, a missing exchange) it refuses again. */
function final(error) {
  const code = error.code ?? Number(/\b(403|404)\b/.exec(error.message)?.[1]);
  if (code === 404) return new Refused(`${error.message} (\`signalq topology apply\` makes the exchanges)`);
  return code === 403 ? new Refused(error.message) : error;
}

async function within(timeoutMs, promises) {
  const canceled = new AbortController();
  const late = sleep(timeoutMs, null, { signal: canceled.signal }).then(() => {
    throw new Error(`the broker did not answer within ${timeoutMs / 1000} s`);
  });
  try {
    return await Promise.race([...promises, late]);
  } finally {
    late.catch(() => {});
    canceled.abort();
  }
}
