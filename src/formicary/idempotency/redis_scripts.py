"""What the store in Redis runs inside the server: Redis runs a script to its end before anything else.

Every script has the same keys: the record's hash, the set of all ids in their order, the set of ids by expiry. All of
them carry one hash tag, so that a cluster keeps them in one slot.
"""

from __future__ import annotations

from typing import Final

_CLOCK: Final = """
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local now = math.floor(us / 1000)
local function number(value) return string.format('%.0f', value) end
"""
_OVER: Final = """
local function over(r)
  local live = r.state == 'IN_PROGRESS' and tonumber(r.lease_ms) > now
  return tonumber(r.expires_ms) <= now and not live
end
"""
_RECORD: Final = """
local function read(key)
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then return nil end
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  return r
end
"""
_EXPIRE: Final = """
local function expire(key, lease, expires)
  redis.call('PEXPIREAT', key, number(math.max(lease, expires) + 60000))
  redis.call('ZADD', KEYS[3], number(expires), ARGV[1])
end
"""
_HELD: Final = """
local r = read(KEYS[1])
if not r or r.state ~= 'IN_PROGRESS' or r.token ~= ARGV[2] then return 0 end
"""

ACQUIRE: Final = f"""{_CLOCK}{_OVER}{_RECORD}{_EXPIRE}
local r = read(KEYS[1])
local lease, expires = now + ARGV[8], now + ARGV[9]
local token = us
if r then
  if not (tonumber(r.token) and tonumber(r.lease_ms) and tonumber(r.expires_ms) and tonumber(r.attempts)
      and (r.state == 'IN_PROGRESS' or r.state == 'RELEASED' or (r.state == 'COMPLETED' and r.response))) then
    return {{'DAMAGED'}}
  end
  token = math.max(us, r.token + 1)
  if not over(r) then
    if r.fingerprint ~= ARGV[3] then return {{'MISMATCH'}} end
    if r.state == 'COMPLETED' then return {{'REPLAY', r.response, r.created_ms}} end
    local begun = r.state == 'IN_PROGRESS'
    if begun and tonumber(r.lease_ms) > now then return {{'BUSY', r.lease_ms, number(now)}} end
    redis.call('HSET', KEYS[1], 'state', 'IN_PROGRESS', 'token', number(token), 'attempts', r.attempts + 1,
      'lease_ms', number(lease), 'expires_ms', number(expires))
    expire(KEYS[1], lease, expires)
    return {{'ACQUIRED', number(token), r.attempts + 1, r.point, r.data, begun and 1 or 0}}
  end
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'client_key', ARGV[2], 'fingerprint', ARGV[3], 'tenant', ARGV[4],
  'method', ARGV[5], 'route', ARGV[6], 'parent', ARGV[7], 'state', 'IN_PROGRESS', 'token', number(token),
  'attempts', 1, 'created_ms', number(now), 'lease_ms', number(lease), 'expires_ms', number(expires),
  'point', '', 'data', '')
expire(KEYS[1], lease, expires)
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return {{'ACQUIRED', number(token), 1, '', '', 0}}
"""

RENEW: Final = f"""{_CLOCK}{_RECORD}{_EXPIRE}{_HELD}
local lease = now + ARGV[3]
redis.call('HSET', KEYS[1], 'lease_ms', number(lease))
expire(KEYS[1], lease, tonumber(r.expires_ms))
return 1
"""

CHECKPOINT: Final = f"""{_RECORD}{_HELD}
redis.call('HSET', KEYS[1], 'point', ARGV[3], 'data', ARGV[4])
return 1
"""

COMPLETE: Final = f"""{_CLOCK}{_RECORD}{_EXPIRE}{_HELD}
local expires = now + ARGV[4]
redis.call('HSET', KEYS[1], 'state', 'COMPLETED', 'response', ARGV[3], 'expires_ms', number(expires))
expire(KEYS[1], 0, expires)
return 1
"""

RELEASE: Final = f"""{_RECORD}{_HELD}
redis.call('HSET', KEYS[1], 'state', 'RELEASED')
return 1
"""

DISCARD: Final = f"""{_RECORD}{_HELD}
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
"""

PURGE: Final = f"""{_CLOCK}{_OVER}{_RECORD}
local gone, skipped, limit = 0, 0, tonumber(ARGV[1])
while gone < limit do
  local ids = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', number(now), 'LIMIT', skipped, 100)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    if gone >= limit then break end
    local key = KEYS[1] .. id
    local r = read(key)
    if r and not over(r) then
      skipped = skipped + 1
    else
      redis.call('DEL', key)
      redis.call('ZREM', KEYS[2], id)
      redis.call('ZREM', KEYS[3], id)
      gone = gone + 1
    end
  end
end
return gone
"""
