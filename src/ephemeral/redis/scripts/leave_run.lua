-- Gives an unanswered request back. ARGV: run, '1' to forget it.
local r = redis.call('HMGET', KEYS[1], 'run', 'done')
if r[1] == ARGV[1] and not r[2] then
    if ARGV[2] == '1' then
        redis.call('DEL', KEYS[1])
    else
        redis.call('HSET', KEYS[1], 'lease', '0')
    end
end
return true
