#!lua flags=no-writes
-- What a bucket's stream holds since an event. KEYS: stream. ARGV: tag, since (stream id), how long streams are kept.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since_ms, since_seq = string.match(ARGV[2], '^(%d+)-(%d+)$')
since_ms, since_seq = tonumber(since_ms), tonumber(since_seq)
if redis.call('EXISTS', KEYS[1]) == 0 then
  return cmsgpack.pack({ARGV[1], now, 'ok', {}, since_ms < now - ARGV[3]})
end
local entries = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], '+')) do
  entries[#entries + 1] = {entry[1], entry[2][2]}
end
-- Something was trimmed, and what is left begins after the event asked for.
local info, trimmed = redis.call('XINFO', 'STREAM', KEYS[1]), false
local facts = {}
for i = 1, #info, 2 do facts[info[i]] = info[i + 1] end
if facts['entries-added'] > facts['length'] and type(facts['first-entry']) == 'table' then
  local ms, seq = string.match(facts['first-entry'][1], '^(%d+)-(%d+)$')
  ms, seq = tonumber(ms), tonumber(seq)
  trimmed = since_ms < ms or (since_ms == ms and since_seq < seq)
end
return cmsgpack.pack({ARGV[1], now, 'ok', entries, trimmed})
