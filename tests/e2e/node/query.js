// A consumer without the SDK: one Query from the proto files alone. Options come as one JSON document on stdin.
'use strict';

const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const options = JSON.parse(fs.readFileSync(0, 'utf8'));
const definition = loader.loadSync('isthmus/v1/exchange_service.proto', {
  includeDirs: [options.protos],
  keepCase: true,
  longs: String,
  enums: String,
});
const { ExchangeService } = grpc.loadPackageDefinition(definition).isthmus.v1;
const credentials = grpc.credentials.createSsl(
  fs.readFileSync(options.ca),
  fs.readFileSync(options.key),
  fs.readFileSync(options.certificate),
);
// The name made from the gateway's identity: whatever the address, this is who must answer.
const client = new ExchangeService(options.address, credentials, {
  'grpc.ssl_target_name_override': options.server_name,
});

client.Query(options.request, { deadline: Date.now() + 10000 }, (error, response) => {
  if (error) {
    const details = error.metadata.get('grpc-status-details-bin');
    console.log(JSON.stringify({ code: error.code, message: error.details, details: details.map((each) => each.toString('base64')) }));
    process.exit(1);
  }
  const { columns, rows } = response.row_set;
  const records = rows.map((row) =>
    Object.fromEntries(columns.map((column, at) => [column.name, Object.values(row.values[at])[0] ?? null])),
  );
  console.log(JSON.stringify({ exchange: response.exchange, known: response.subject_known, records,
    index: response.receipt.record_index, checkpoint: response.receipt.checkpoint }));
});
