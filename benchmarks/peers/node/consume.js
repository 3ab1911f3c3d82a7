// The peer in Node: amqplib and undici, bare. As the naive one in Python, it promises nothing.
import amqp from "amqplib";
import { Agent, request } from "undici";

const { BENCH_BROKER, BENCH_QUEUE, BENCH_WEBHOOK } = process.env;
const PREFETCH = 100;

const connection = await amqp.connect(BENCH_BROKER);
const channel = await connection.createChannel();
await channel.prefetch(PREFETCH);
const dispatcher = new Agent({ connections: PREFETCH });

await channel.consume(BENCH_QUEUE, async (message) => {
  const answer = await request(BENCH_WEBHOOK, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: message.content,
    dispatcher,
  });
  await answer.body.text();
  channel.ack(message);
});
