'use strict';

// Runs plugs of the package tplink-smarthome-simulator, one for each argument,
// such as hs110v2@127.0.0.2:9999, and says "ready" when all of them listen. The
// n-th, from 1, has the MAC 0a:00:00:00:00:0n and a deviceId of n repeated.

const { Device } = require('tplink-smarthome-simulator');

async function main(names) {
  for (const [i, name] of names.entries()) {
    const [model, host] = name.split('@');
    const [address, port] = host.split(':');
    const n = String(i + 1);
    const device = new Device({
      model,
      address,
      port: Number(port),
      data: { alias: `plug ${n}`, mac: `0a:00:00:00:00:0${n}`, deviceId: n.repeat(40) },
    });
    // Without a listener an odd frame would end the process.
    device.deviceNetworking.on('error', (err) => console.error(`${name}: ${err.message}`));
    await device.start();
  }
  console.log('ready');
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
