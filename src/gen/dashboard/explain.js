import{b as e,g as t,h as n,t as r}from"./html.js";import{O as i,s as a,w as o,x as s}from"./app.js";function c(e){o(t=>r`<${u} ...${{group:e,close:t}} />`)}const l=[[`class`,`Class`],[`key`,`Key`],[`cost`,`Cost`],[`ttl`,`Wait timeout, such as 30s`]];function u({group:n,close:o}){let[s,c]=e({}),[u,f]=e(),[p,m]=e(),h=()=>{let e=new URLSearchParams(Object.entries(s).filter(([,e])=>e!==``));i(`GET`,`v1/groups/${encodeURIComponent(n)}/explain?${e}`).then(e=>{f(e),m(void 0)},e=>m(e))};return t(h,[]),r`<h2 id="dialog-title">Explain a call to ${n}</h2>
<div class="fields">
${l.map(([e,t],n)=>r`<label
>${t}
<input
...${n===0?{"data-first":!0}:{}}
onInput=${t=>c({...s,[e]:t.target.value})}
onKeyDown=${e=>e.key===`Enter`&&h()}
/></label>`)}
<button class="solid" onClick=${h}>Ask</button>
</div>
${p&&r`<p class="problem" role="alert"><b>${p.title}.</b> ${p.detail}</p>`}
<div role="status">${u&&d(u)}</div>
<div class="buttons"><i /><button onClick=${o}>Close ${a(`Esc`)}</button></div>`}function d(e){let t=e.story;if(Array.isArray(t))return r`${t.map(e=>r`<p>${String(e)}</p>`)}`;if(typeof t==`string`&&t!==``)return r`<p>${t}</p>`;let i=e.refusal,a=e.place;return e.admitted===!0?r`<p><b>It passes at once.</b></p>`:i===void 0?r`<p><b>It waits at place ${a?.place??`not known`}</b>${a?.limit?`, behind ${a.limit}`:``}; ${s(a?.told)}.</p>`:r`<p><b>It is refused as ${n(i.reason)}</b>${i.limit?`, by ${i.limit}`:``}. ${i.detail??``}</p>`}export{c as openExplain};