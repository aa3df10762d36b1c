#!lua
-- Changes data, metadata, roles, permissions, security. KEYS: session, channels, operation. ARGV: tag, id, most data
-- bytes, versions allowed (space separated, empty: any), patch of the core (JSON or empty), seal, what to remember (not
-- empty), how many fields are set, those fields and values, the data fields removed.
local id, key, m = live(ARGV[2])
if not id then return answer('missing') end
local done = answered(KEYS[4])
if done then return answer('ok', id, redis.call('HGETALL', key), done) end
local seal = tonumber(ARGV[6])
if not fits(key, id, seal) then return answer('again') end

local versions = ARGV[4]
if versions ~= '' and not string.find(' ' .. versions .. ' ', ' ' .. string.format('%d', m.v) .. ' ', 1, true) then
  return answer('conflict', m.v)
end

local sets, bytes, removed = tonumber(ARGV[8]), m.bytes, {}
for i = 9, 8 + 2 * sets, 2 do
  local field = ARGV[i]
  -- What is sealed together is no data.
  if field ~= 's' then
    if redis.call('HEXISTS', key, field) == 1 then
      bytes = bytes - (redis.call('HSTRLEN', key, field) - seal)
    else
      bytes = bytes + #field - 2
    end
    bytes = bytes + #ARGV[i + 1] - seal
  end
end
for i = 9 + 2 * sets, #ARGV do
  local field = ARGV[i]
  if redis.call('HEXISTS', key, field) == 1 then
    bytes = bytes - (redis.call('HSTRLEN', key, field) - seal) - (#field - 2)
    removed[#removed + 1] = field
  end
end
local most = tonumber(ARGV[3])
if bytes > most and bytes > m.bytes then return answer('too_large', bytes, most) end

local c, patched = core(key), false
if ARGV[5] ~= '' then
  local patch = cjson.decode(ARGV[5])
  for _, list in ipairs({'roles', 'permissions'}) do
    if patch[list] then
      c[list] = #patch[list] > 0 and patch[list] or nil
      patched = true
    end
  end
  local metadata = c.metadata or {}
  for name, value in pairs(patch.metadata or {}) do metadata[name], patched = value, true end
  for _, name in ipairs(patch.remove or {}) do
    patched = patched or metadata[name] ~= nil
    metadata[name] = nil
  end
  c.metadata = next(metadata) and metadata or nil
  local security = c.security or {}
  for name, value in pairs(patch.security or {}) do
    -- The default is not written.
    if value == false or value == 0 then value = nil end
    security[name], patched = value, true
  end
  c.security = next(security) and security or nil
end

if sets > 0 or #removed > 0 or patched then
  invalidate('c', m.v + 1, id)
  remember(KEYS[4], ARGV[7])
  if patched then redis.call('HSET', key, 'c', cjson.encode(c)) end
  for i = 9, 8 + 2 * sets, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
  for _, field in ipairs(removed) do redis.call('HDEL', key, field) end
  m.v, m.bytes = m.v + 1, bytes
  write(key, m)
  tell('changed', id, m, c, {version = m.v})
end
return answer('ok', id, redis.call('HGETALL', key), ARGV[7])
